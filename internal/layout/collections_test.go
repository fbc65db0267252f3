package layout

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"exportd/internal/dataset"
)

// damageCases are the tests that damage the documents of each collection that the code reads, and of each
// kind in it, in every way: package and name. A collection, a kind of lease or a type of document that is not
// here has no such test.
var damageCases = map[string][]string{
	"ExportJobs":                {"worker TestDamagedDocuments", "api TestDamagedDocuments", "api TestDamagedStreams", "api TestDamagedAttachments", "cmd/exportctl TestDamagedService"},
	"parts":                     {"worker TestDamagedDocuments", "api TestDamagedDocuments"},
	"events":                    {"internal/jobstore TestWounds", "api TestDamagedDocuments"},
	"ExportCallbacks":           {"worker TestDamagedDocuments", "worker TestDamageIsToldOnce", "api TestDamagedDocuments"},
	"ExportFingerprints":        {"internal/jobstore TestWounds", "api TestDamagedAttachments"},
	"ExportIdempotency":         {"internal/jobstore TestWounds", "api TestDamagedAttachments"},
	"ExportPlaces":              {"internal/jobstore TestWounds"},
	"ExportBatches":             {"internal/jobstore TestWounds", "worker TestDamagedDocuments", "api TestDamagedDocuments"},
	"ExportCallbackReceivers":   {"internal/jobstore TestWounds", "api TestDamagedDocuments"},
	"ExportBudgets":             {"internal/jobstore TestWounds"},
	"ExportCauses":              {"internal/jobstore TestWounds"},
	"ExportAudit":               {"internal/jobstore TestWounds"},
	"ExportLinks":               {"internal/jobstore TestWounds"},
	"ExportDownloads":           {"internal/jobstore TestWounds"},
	"ExportRollups":             {"internal/jobstore TestWounds"},
	"ExportLeases":              {"internal/jobstore TestWounds", "worker TestDamagedDocuments"},
	"ExportLeases role-":        {"internal/jobstore TestWounds"},
	"ExportLeases worker-":      {"internal/jobstore TestWounds"},
	"ExportLeases queue-":       {"internal/jobstore TestWounds", "api TestDamagedDocuments"},
	"ExportLeases dead-":        {"internal/jobstore TestWounds"},
	"ExportLeases rescuers":     {"internal/jobstore TestWounds"},
	"ExportLeases ping":         nil, // is there or not: nothing in it is read
	"ApiKeys":                   {"internal/apikey TestDamagedRecords", "internal/apikey TestUnknownValueInRecord", "api TestDamagedCaller"},
	"ExportNonces":              {"internal/apikey TestDamagedNonces"},
	"VipUsers":                  {"internal/e2e TestUglyDocuments"},
	"VipMessages":               {"internal/e2e TestUglyDocuments"},
	"Workspaces":                {"internal/e2e TestUglyDocuments"},
	"Channels":                  {"internal/e2e TestUglyDocuments"},
	"type jobs.Job":             {"jobs TestDamagedJob", "worker TestDamagedDocuments"},
	"type jobs.Part":            {"worker TestDamagedDocuments"},
	"type jobs.Plain":           {"jobs TestPlanSheets"},
	"type jobs.GuardedBy":       {"internal/jobstore TestGuardedByIsRead"},
	"type jobs.Digest":          {"jobs TestDamagedDigest", "internal/export TestPieces"},
	"type jobs.Frame":           {"jobs TestDamagedDigest"},
	"type jobs.Spent":           {"internal/jobstore TestDamagedSpent"},
	"type jobs.Event":           {"internal/jobstore TestWounds"},
	"type jobs.Callback":        {"worker TestDamagedDocuments"},
	"type jobs.CallbackAttempt": {"worker TestDamagedDocuments"},
	"type jobs.Batch":           {"internal/jobstore TestWounds"},
	"type jobs.BatchFilter":     {"internal/jobstore TestWounds"},
	"type jobs.CallbackFilter":  {"internal/jobstore TestWounds"},
	"type jobs.Search":          {"internal/jobstore TestWounds"},
	"type jobs.Place":           {"internal/jobstore TestWounds"},
	"type jobs.Lease":           {"worker TestDamagedDocuments"},
	"type jobs.Result":          {"worker TestDamagedDocuments"},
	"type jobs.Whole":           {"jobs TestDamagedChanges"},
	"type jobs.Reservation":     {"jobs TestDamagedReservation"},
	"type jobs.BudgetDay":       {"internal/jobstore TestWounds"},
	"type jobs.Changes":         {"jobs TestDamagedChanges"},
	"type jobs.JobError":        {"worker TestDamagedDocuments"},
	"type apikey.record":        {"internal/apikey TestDamagedRecords"},
	"type apikey.sealedSecret":  {"internal/apikey TestDamagedRecords"},
	"type apikey.AuditEntry":    {"internal/apikey TestDamagedRecords"},
	"type apikey.nonce":         {"internal/apikey TestDamagedNonces"},
	"type jobstore.lease":       {"internal/jobstore TestWounds"},
	"type jobs.AuditEntry":      {"internal/jobstore TestWounds"},
	"type jobs.OrgLinks":        {"internal/jobstore TestWounds"},
	"type jobs.Download":        {"internal/jobstore TestWounds"},
	"type jobs.Probe":           {"internal/jobstore TestWounds"},
	"type jobstore.causeDoc":    {"internal/jobstore TestWounds"},
	"type jobs.Receiver":        {"internal/jobstore TestWounds"},
	"type jobstore.pointer":     {"internal/jobstore TestWounds"},
}

// reading are the packages that read documents in production.
var reading = []string{"api", "worker", "jobs", "cmd", "internal/apikey", "internal/dataset", "internal/docwatch", "internal/command", "internal/export", "internal/indexes", "internal/jobstore", "internal/records", "internal/service", "internal/vip", "internal/webhook"}

// TestCollectionsHaveDamageCases: every collection, kind of lease and type of document that the code reads is
// in damageCases, and every test that it names is there.
func TestCollectionsHaveDamageCases(t *testing.T) {
	t.Parallel()
	r := reader{strings: map[string]string{}, found: map[string]string{}, tests: map[string]string{}}
	for _, root := range reading {
		r.parse(t, root)
	}
	for _, root := range []string{"internal/e2e"} {
		r.parse(t, root)
	}
	r.collect()
	for _, what := range slices.Sorted(maps.Keys(r.found)) {
		if _, ok := damageCases[what]; !ok {
			t.Errorf("%s (%s) has no damage cases: write them, and name them in damageCases", what, r.found[what])
		}
	}
	for what, tests := range damageCases {
		if _, ok := r.found[what]; !ok {
			t.Errorf("%s is not read any more", what)
		}
		for _, test := range tests {
			if _, ok := r.tests[test]; !ok {
				t.Errorf("%s: there is no test %s", what, test)
			}
		}
	}
	for _, what := range slices.Sorted(maps.Keys(r.found)) {
		root := what != "" && what[0] >= 'A' && what[0] <= 'Z' && !strings.Contains(what, " ")
		if root && !datasetsOf(what) && datasetCan(t, what) {
			t.Errorf("a dataset of an installation can be of the collection %s, which is exportd's own", what)
		}
	}
	if len(r.found) < 38 {
		t.Errorf("only %d collections and types were found: %v", len(r.found), slices.Sorted(maps.Keys(r.found)))
	}
}

// datasetsOf reports whether a collection is that of a dataset that is built in.
func datasetsOf(collection string) bool {
	return slices.ContainsFunc(dataset.BuiltIn, func(d *dataset.Dataset) bool { return d.Collection == collection })
}

// datasetCan reports whether a dataset of a file may be of a collection.
func datasetCan(t *testing.T, collection string) bool {
	t.Helper()
	_, err := dataset.Parse("test", fmt.Appendf(nil, "datasets:\n- {name: x, title: T, collection: %s, gate: {orgField: orgId}, sort: {field: f, type: text}, columns: [f]}\n", collection))
	return err == nil
}

// reader reads collections and types off the source.
type reader struct {
	files   []file
	strings map[string]string // constants, by package and name
	found   map[string]string // where
	tests   map[string]string // "package Name": file
}

type file struct {
	path string
	pkg  string
	*ast.File
}

func (r *reader) parse(t *testing.T, root string) {
	t.Helper()
	set := token.NewFileSet()
	err := filepath.WalkDir(filepath.Join("../..", root), func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(name, ".go") {
			return err
		}
		f, err := parser.ParseFile(set, name, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		dir, _ := filepath.Rel("../..", filepath.Dir(name))
		if strings.HasSuffix(name, "_test.go") {
			for _, decl := range f.Decls {
				if fn, ok := decl.(*ast.FuncDecl); ok && fn.Recv == nil && strings.HasPrefix(fn.Name.Name, "Test") {
					r.tests[filepath.ToSlash(dir)+" "+fn.Name.Name] = name
				}
			}
			return nil
		}
		if root != "internal/e2e" {
			r.files = append(r.files, file{name, f.Name.Name, f})
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// collect looks at constants first, which collections may be named by.
func (r *reader) collect() {
	for _, f := range r.files {
		ast.Inspect(f.File, func(n ast.Node) bool {
			if spec, ok := n.(*ast.ValueSpec); ok {
				for i, v := range spec.Values {
					if s, ok := text(v); ok && i < len(spec.Names) {
						r.strings[f.pkg+"."+spec.Names[i].Name] = s
						if name := spec.Names[i].Name; strings.HasPrefix(name, "Collection") || strings.HasSuffix(name, "Collection") {
							r.found[s] = f.path
						}
					}
				}
			}
			return true
		})
	}
	for _, f := range r.files {
		ast.Inspect(f.File, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CallExpr:
				r.call(f, n)
			case *ast.KeyValueExpr: // of a dataset
				if key, ok := n.Key.(*ast.Ident); ok && key.Name == "Collection" {
					if s, ok := text(n.Value); ok {
						r.found[s] = f.path
					}
				}
			case *ast.TypeSpec:
				if s, ok := n.Type.(*ast.StructType); ok && slices.ContainsFunc(s.Fields.List, func(field *ast.Field) bool {
					return field.Tag != nil && strings.Contains(field.Tag.Value, `firestore:"`) && !strings.Contains(field.Tag.Value, `firestore:"-"`)
				}) {
					r.found["type "+f.pkg+"."+n.Name.Name] = f.path
				}
			}
			return true
		})
	}
}

// call notes the collection of client.Collection(name), and the kind of leases().Doc(name).
func (r *reader) call(f file, call *ast.CallExpr) {
	method, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || len(call.Args) != 1 {
		return
	}
	arg := call.Args[0]
	switch method.Sel.Name {
	case "Collection", "CollectionGroup":
		r.found[r.resolve(f, arg)] = f.path
	case "Doc":
		of, ok := method.X.(*ast.CallExpr)
		if !ok {
			return
		}
		if leases, ok := of.Fun.(*ast.SelectorExpr); ok && leases.Sel.Name == "leases" {
			if sum, ok := arg.(*ast.BinaryExpr); ok {
				arg = sum.X
			}
			r.found["ExportLeases "+r.resolve(f, arg)] = f.path
		}
	}
}

// resolve gives a text or a constant; what is neither is named as it stands, and in no table.
func (r *reader) resolve(f file, e ast.Expr) string {
	if s, ok := text(e); ok {
		return s
	}
	switch e := e.(type) {
	case *ast.Ident:
		if s, ok := r.strings[f.pkg+"."+e.Name]; ok {
			return s
		}
	case *ast.SelectorExpr:
		if pkg, ok := e.X.(*ast.Ident); ok {
			if s, ok := r.strings[pkg.Name+"."+e.Sel.Name]; ok {
				return s
			}
		}
	}
	return "a name that is no constant"
}

func text(e ast.Expr) (string, bool) {
	lit, ok := e.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return "", false
	}
	s, err := strconv.Unquote(lit.Value)
	return s, err == nil
}
