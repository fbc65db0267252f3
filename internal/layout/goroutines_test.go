package layout

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// plain are the goroutines of a service that do without package panics, by file and function, and why.
var plain = map[string]string{
	"worker/gate.go while": "it waits for one of two channels",
	"worker/pool.go Run":   "the last one waits for the others",
}

// ends are calls that a goroutine may make without, if it makes no other: they tell somebody to stop.
var ends = []string{"cancel", "stop", "interrupt", "Close", "SetDeadline"}

// TestGoroutines: whoever begins a goroutine in a service says what a panic in it comes to, by package
// panics: without, it ends the process, and all that others have under way in it.
func TestGoroutines(t *testing.T) {
	t.Parallel()
	found, seen := map[string]bool{}, 0
	for _, p := range list(t, "-deps", "./cmd/exportd") {
		if !within(p.ImportPath, "exportd") || within(p.ImportPath, "exportd/cmd", "exportd/internal/panics", "exportd/internal/command") {
			continue
		}
		dir := filepath.Join("../..", strings.TrimPrefix(p.ImportPath, "exportd"))
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if !strings.HasSuffix(e.Name(), ".go") || strings.HasSuffix(e.Name(), "_test.go") {
				continue
			}
			fset := token.NewFileSet()
			file, err := parser.ParseFile(fset, filepath.Join(dir, e.Name()), nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range file.Decls {
				fn, ok := d.(*ast.FuncDecl)
				if !ok {
					continue
				}
				for _, begun := range goroutines(fn) {
					seen++
					where := strings.TrimPrefix(p.ImportPath, "exportd/") + "/" + e.Name() + " " + fn.Name.Name
					if caught(begun) || stops(begun) {
						continue
					}
					if found[where] = true; plain[where] == "" {
						t.Errorf("%s begins a goroutine in %s: say by package panics what a panic in it comes to", fset.Position(begun.Pos()), where)
					}
				}
			}
		}
	}
	for where := range maps.Keys(plain) {
		if !found[where] {
			t.Errorf("%s begins no such goroutine any more", where)
		}
	}
	if seen < 40 {
		t.Errorf("%d goroutines were looked at: is the test looking at the whole service?", seen)
	}
}

// goroutines are what a function has run in goroutines: what it says go, Go and AfterFunc to.
func goroutines(fn *ast.FuncDecl) (begun []ast.Node) {
	ast.Inspect(fn, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			begun = append(begun, n.Call)
		case *ast.CallExpr:
			if s, ok := n.Fun.(*ast.SelectorExpr); ok && slices.Contains([]string{"Go", "AfterFunc"}, s.Sel.Name) && len(n.Args) > 0 {
				begun = append(begun, n.Args[len(n.Args)-1])
			}
		}
		return true
	})
	return begun
}

// stops reports whether something is, or makes, one call of ends and no other.
func stops(n ast.Node) bool {
	var fun ast.Expr
	switch n := n.(type) {
	case *ast.FuncLit:
		if len(n.Body.List) != 1 {
			return false
		}
		var call ast.Expr
		switch s := n.Body.List[0].(type) {
		case *ast.ExprStmt:
			call = s.X
		case *ast.AssignStmt:
			call = s.Rhs[0]
		}
		c, ok := call.(*ast.CallExpr)
		if !ok {
			return false
		}
		fun = c.Fun
	case ast.Expr:
		fun = n
	}
	switch f := fun.(type) {
	case *ast.Ident:
		return slices.Contains(ends, f.Name)
	case *ast.SelectorExpr:
		return slices.Contains(ends, f.Sel.Name)
	}
	return false
}

// caught reports whether something calls package panics, or a reporter of it.
func caught(n ast.Node) (ok bool) {
	ast.Inspect(n, func(n ast.Node) bool {
		call, is := n.(*ast.CallExpr)
		if !is {
			return true
		}
		s, is := call.Fun.(*ast.SelectorExpr)
		if !is {
			return true
		}
		switch x := s.X.(type) {
		case *ast.Ident:
			ok = ok || x.Name == "panics"
		case *ast.SelectorExpr:
			ok = ok || strings.EqualFold(x.Sel.Name, "panics")
		}
		return true
	})
	return ok
}
