package layout

import (
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"slices"
	"testing"

	"golang.org/x/tools/go/packages"
)

// kept are the documents of package jobs that nobody else changes.
var kept = []string{"Job", "Part", "Callback", "Batch", "Place"}

// adapted is what adapters may set: what belongs to the document and not to what it is about: its id, the rev
// of the write, and what of it could not be read.
var adapted = []string{"ID", "Rev", "Damage", "Shard", "CreatedAt"}

// TestTransitions: no package but jobs assigns to a field of a job, part, callback, batch or place: every
// change is a transition, which the model explores.
func TestTransitions(t *testing.T) {
	t.Parallel()
	cfg := &packages.Config{
		Mode: packages.NeedName | packages.NeedSyntax | packages.NeedTypes | packages.NeedTypesInfo | packages.NeedImports | packages.NeedExportFile,
		Dir:  "../..", BuildFlags: []string{"-tags", "nomsgpack"},
	}
	pkgs, err := packages.Load(cfg, "./api", "./worker", "./internal/...", "./cmd/...")
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, p := range pkgs {
		if len(p.Errors) > 0 {
			t.Fatalf("load %s: %v", p.PkgPath, p.Errors)
		}
		seen += len(p.Syntax)
		for _, file := range p.Syntax {
			for _, at := range changes(file, p.TypesInfo) {
				if within(p.PkgPath, adapters...) && slices.Contains(adapted, at.Sel.Name) {
					continue
				}
				t.Errorf("%s changes %s: make it a transition of package jobs", p.Fset.Position(at.Pos()), at.Sel.Name)
			}
		}
	}
	if seen < 100 {
		t.Errorf("%d files were looked at: is the test looking at the whole module?", seen)
	}
}

// changes lists the fields of kept documents that a file assigns to or increments.
func changes(file *ast.File, info *types.Info) (found []*ast.SelectorExpr) {
	look := func(e ast.Expr) {
		for {
			switch x := ast.Unparen(e).(type) {
			case *ast.IndexExpr:
				e = x.X
				continue
			case *ast.StarExpr:
				e = x.X
				continue
			case *ast.SelectorExpr:
				if s := info.Selections[x]; s != nil && s.Kind() == types.FieldVal && isKept(s.Recv()) {
					found = append(found, x)
					return
				}
				e = x.X
				continue
			}
			return
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.AssignStmt:
			if n.Tok != token.DEFINE {
				for _, e := range n.Lhs {
					look(e)
				}
			}
		case *ast.IncDecStmt:
			look(n.X)
		}
		return true
	})
	return found
}

// isKept reports whether a type, or what it points to, is a document of package jobs.
func isKept(t types.Type) bool {
	if p, ok := t.Underlying().(*types.Pointer); ok {
		t = p.Elem()
	}
	named, ok := t.(*types.Named)
	if !ok || named.Obj().Pkg() == nil || named.Obj().Pkg().Path() != "exportd/jobs" {
		return false
	}
	return slices.Contains(kept, named.Obj().Name())
}

// TestChanges makes sure that the check finds what it is there to find.
func TestChanges(t *testing.T) {
	t.Parallel()
	const text = `package p
func f(j *Job, p Part, b *Batch, r Result) {
	j.State, r.Rows = "", 1
	j.Lease.Token = ""
	p.Attempt++
	b.Skipped["x"] += 2
	(*j).Params["y"] = j.Place
	k := Job{State: "queued"}
	k.Epoch--
	r.Rows = j.Epoch
}
type Job struct { State string; Lease struct{ Token string }; Params map[string]int; Place int; Epoch int64 }
type Part struct { Attempt int }
type Batch struct { Skipped map[string]int }
type Result struct { Rows int64 }
`
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, "p.go", text, 0)
	if err != nil {
		t.Fatal(err)
	}
	info := &types.Info{Selections: map[*ast.SelectorExpr]*types.Selection{}}
	if _, err := new(types.Config).Check("exportd/jobs", fset, []*ast.File{file}, info); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, at := range changes(file, info) {
		got = append(got, at.Sel.Name)
	}
	if want := []string{"State", "Lease", "Attempt", "Skipped", "Params", "Epoch"}; !slices.Equal(got, want) {
		t.Errorf("changes = %v, want %v", got, want)
	}
}
