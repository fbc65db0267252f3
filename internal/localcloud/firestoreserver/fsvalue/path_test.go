package fsvalue

import (
	"bytes"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func mustDocument(t testing.TB, rel string) Path {
	t.Helper()
	p, err := ParseDocument(docs + rel)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPathParts(t *testing.T) {
	t.Parallel()
	p := mustDocument(t, "users/jeff/tasks/my_task_id")
	if got := p.String(); got != docs+"users/jeff/tasks/my_task_id" {
		t.Errorf("String() = %q", got)
	}
	if p.ID() != "my_task_id" || p.CollectionID() != "tasks" || p.Len() != 4 || !p.IsDocument() {
		t.Errorf("parts of %v are wrong", p)
	}
	if got := p.Parent(); got.CollectionID() != "tasks" || got.ID() != "tasks" || got.IsDocument() {
		t.Errorf("Parent() = %v", got)
	}
	if got := p.Parent().Child("my_task_id"); got != p {
		t.Errorf("Parent().Child() = %v, want %v", got, p)
	}
	root := p.Database().Root()
	if root.Child("users").Child("jeff") != p.Parent().Parent() || !root.IsRoot() || root.Parent() != root {
		t.Error("paths built from the root differ from parsed ones")
	}
	if !root.Contains(p) || !p.Contains(p) || !p.Parent().Contains(p) || p.Contains(p.Parent()) {
		t.Error("Contains is wrong along one path")
	}
	if a, b := mustDocument(t, "c/a"), mustDocument(t, "c/ab"); a.Contains(b) {
		t.Error("c/a contains c/ab, want not")
	}
	if parent, err := ParseParent(strings.TrimSuffix(docs, "/")); err != nil || parent != root {
		t.Errorf("ParseParent(root) = %v, %v", parent, err)
	}
	if db, err := ParseDatabase("projects/p/databases/(default)"); err != nil || db != root.Database() {
		t.Errorf("ParseDatabase = %v, %v", db, err)
	}
}

func TestParseErrors(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		name, want string
	}{
		"collection":        {docs + "c", `lacks "/" at index`},
		"reserved id":       {docs + "c/__x__", `Resource id "__x__" is invalid because it is reserved.`},
		"reserved col":      {docs + "__x__/d", `Collection id "__x__" is invalid because it is reserved.`},
		"dot":               {docs + "c/.", "reserved"},
		"empty segment":     {docs + "c//d/e", "must not be empty"},
		"trailing slash":    {docs + "c/", "must not be empty"},
		"no documents":      {"projects/p/databases/(default)/docs/c/d", "documents"},
		"no database":       {"projects/p", `Resource name "projects/p" lacks "/" at index`},
		"not a name":        {"c/d", `Resource name "c/d"`},
		"database too long": {"projects/p/databases/" + strings.Repeat("a", 64) + "/documents/c/d", "database id"},
		"database capital":  {"projects/p/databases/Abcd/documents/c/d", "database id"},
		"encoded default":   {"projects/p/databases/%28default%29/documents/c/d", "database id"},
		"bad UTF-8":         {docs + "c/\xff", "UTF-8"},
		"long id":           {docs + "c/" + strings.Repeat("x", MaxIDBytes+1), "1500"},
		"long name":         {docs + strings.Repeat("c/"+strings.Repeat("x", 1400)+"/", 4) + "c/" + strings.Repeat("x", 600), "6144"},
		"too deep":          {docs + strings.TrimSuffix(strings.Repeat("c/d/", 101), "/"), "maximum of 200"},
	}
	for name, tt := range tests {
		_, err := ParseDocument(tt.name)
		wantInvalid(t, "ParseDocument: "+name, err, tt.want)
	}
	_, err := ParseParent(docs + "c")
	wantInvalid(t, "ParseParent of a collection", err, "Document parent name")
	_, err = ParseDatabase(docs + "c/d")
	wantInvalid(t, "ParseDatabase of a document", err, "after the database id")
	_, err = ParseDatabase("projects/p/databases/D")
	wantInvalid(t, "ParseDatabase of a short name", err, "4 to 63 lower-case letters")
	wantInvalid(t, "CheckID with a slash", CheckID("a/"), `Resource id "a/" is invalid because it contains "/".`)
}

func wantInvalid(t testing.TB, what string, err error, text string) {
	t.Helper()
	if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), text) {
		t.Errorf("%s = %v, want INVALID_ARGUMENT with %q", what, err, text)
	}
}

func TestNameOrder(t *testing.T) {
	t.Parallel()
	names := []string{
		"a/__id-9223372036854775808__", "a/__id-92__", "a/__id-7__", "a/__id7__", "a/__id7__/b/__id1__", "a/__id7__/b/__", "a/__id10__", "a/__id9223372036854775807__",
		"a/\x00", "a/\x00\x01", "a/\x01", "a/__", "a/____", "a/__id7", "a/__id7_", "a/__id7__x", "a/a", "a/a/\x01/b", "a/a/qg/e1", "a/a\x00", "a/a\x01", "a/a!", "a/a-", "a/a-/b/c", "a/b", "a\x00/b", "a!/b",
		"r1/qg/c1/x", "r1/qg/c1/x/qg/e1", "r1/qg/c2/x", "r1/qgx/x2/x", "r1/sub/s1/x",
	}
	for i, a := range names {
		for j, b := range names {
			p, q := mustDocument(t, a), mustDocument(t, b)
			want := sign(i - j)
			if got := p.Compare(q); got != want {
				t.Errorf("Compare(%q, %q) = %d, want %d", a, b, got, want)
			}
			if got := bytes.Compare(AppendPath(nil, p, Ascending), AppendPath(nil, q, Ascending)); got != want {
				t.Errorf("encoding of %q against %q = %d, want %d", a, b, got, want)
			}
			if got := bytes.Compare(AppendPath(nil, p, Descending), AppendPath(nil, q, Descending)); got != -want {
				t.Errorf("descending encoding of %q against %q = %d, want %d", a, b, got, -want)
			}
			under := bytes.HasPrefix(AppendPath(nil, q, Ascending), AppendPathPrefix(nil, p))
			if under != p.Contains(q) {
				t.Errorf("prefix of %q holds %q = %v, want %v", a, b, under, p.Contains(q))
			}
		}
	}
}

func TestCutPath(t *testing.T) {
	t.Parallel()
	for _, d := range []Direction{Ascending, Descending} {
		for _, rel := range []string{"a/b", "a\x00/b\x00\x01\x02\xc3\xbf/c/d", "a/__id-92__/b/__id7__"} {
			p := mustDocument(t, rel)
			key := append(AppendPath(nil, p, d), "rest"...)
			got, rest, err := CutPath(p.Database(), key, d)
			if err != nil || got != p || string(rest) != "rest" {
				t.Errorf("CutPath(%q, %v) = %v, %q, %v", rel, d, got, rest, err)
			}
			for i := range len(key) - len("rest") {
				if _, _, err := CutPath(p.Database(), key[:i], d); err == nil {
					t.Errorf("CutPath of the first %d bytes succeeds", i)
				}
			}
		}
	}
	s, rest, err := CutString(append(AppendString(nil, "a\x00b"), 7))
	if s != "a\x00b" || len(rest) != 1 || err != nil {
		t.Errorf("CutString = %q, %x, %v", s, rest, err)
	}
	if s, rest, err := CutString(append(AppendString(nil, "__id-92__"), 7)); s != "__id-92__" || len(rest) != 1 || err != nil {
		t.Errorf("CutString of a numeric id = %q, %x, %v", s, rest, err)
	}
	if _, _, err := CutString([]byte("abc")); err == nil {
		t.Error("CutString without an end succeeds")
	}
}

func TestPrefixEnd(t *testing.T) {
	t.Parallel()
	if got := PrefixEnd([]byte{1, 0xFF, 0xFF}); !bytes.Equal(got, []byte{2}) {
		t.Errorf("PrefixEnd = %x, want 02", got)
	}
	if got := PrefixEnd([]byte{0xFF}); got != nil {
		t.Errorf("PrefixEnd = %x, want nil", got)
	}
}
