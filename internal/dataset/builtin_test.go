package dataset_test

import (
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestBuiltIn: every dataset that a file of this package declares is in the list of those that are built in.
// Those that are new come behind the others, as the order is shown.
func TestBuiltIn(t *testing.T) {
	t.Parallel()
	const path = "builtin.gen.go"
	have, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, _ := strings.Cut(string(have), "Set{")
	list, tail, ok := strings.Cut(rest, "}")
	if !ok {
		t.Fatalf("%s has no set of datasets", path)
	}
	declared := declaredDatasets(t)
	names := slices.DeleteFunc(strings.Split(list, ", "), func(name string) bool { return !slices.Contains(declared, name) })
	for _, name := range declared {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	want, err := format.Source([]byte(head + "Set{" + strings.Join(names, ", ") + "}" + tail))
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(path, want, 0o644); err != nil {
			t.Fatal(err)
		}
	} else if string(have) != string(want) {
		t.Errorf("%s is not what is declared: make generate", path)
	}
}

// declaredDatasets are the package's variables of a dataset, by name.
func declaredDatasets(t *testing.T) (names []string) {
	t.Helper()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range f.Decls {
			if vars, ok := decl.(*ast.GenDecl); ok && vars.Tok == token.VAR {
				for _, spec := range vars.Specs {
					names = append(names, datasetIn(spec.(*ast.ValueSpec))...)
				}
			}
		}
	}
	slices.Sort(names)
	if len(names) < 2 {
		t.Fatalf("only %v are declared", names)
	}
	return names
}

// datasetIn is the name in: Name = &Dataset{...}.
func datasetIn(spec *ast.ValueSpec) []string {
	if len(spec.Values) != 1 {
		return nil
	}
	if address, ok := spec.Values[0].(*ast.UnaryExpr); ok && address.Op == token.AND {
		if value, ok := address.X.(*ast.CompositeLit); ok {
			if of, ok := value.Type.(*ast.Ident); ok && of.Name == "Dataset" {
				return []string{spec.Names[0].Name}
			}
		}
	}
	return nil
}
