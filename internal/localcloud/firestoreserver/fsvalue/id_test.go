package fsvalue

import (
	"strings"
	"testing"
)

// TestIDs: what Google's emulator answered to a commit with each id. internal/e2e asks it again.
func TestIDs(t *testing.T) {
	t.Parallel()
	legal := []string{
		"a", "...", ".a", "a.", "_", "__", "___", "____", "__a", "_a__", "a__", "__id7_", "__id7__x", " ", "\x00", "a\x00b", "\n",
		"é", "e\u0301", "😀", "\u2028", "\ufffe", "\x7f", "*", "[", "`", "#", "%", "%2F", `\`,
		strings.Repeat("x", 1500), strings.Repeat("é", 750),
	}
	numeric := []string{"__id7__", "__id-7__", "__id-92__", "__id9223372036854775807__", "__id-9223372036854775808__"}
	illegal := []string{
		"", ".", "..", "_____", "______", strings.Repeat("_", 10), strings.Repeat("_", 1500), "__a__", "__.__", "__\n__", "__\x00__", "__name__", "__key__",
		"__id__", "__idx__", "__ID7__", "__id0__", "__id-0__", "__id07__", "__id+7__", "__id 7__", "__id9223372036854775808__", "__id-9223372036854775809__",
		"a/b", "\xff", strings.Repeat("x", 1501), strings.Repeat("é", 751),
	}
	for _, id := range legal {
		if CheckID(id) != nil || CheckCollectionID(id) != nil {
			t.Errorf("id %q is refused: %v, %v", id, CheckID(id), CheckCollectionID(id))
		}
	}
	for _, id := range numeric {
		if CheckID(id) != nil || CheckCollectionID(id) == nil {
			t.Errorf("numeric id %q: %v as a document's, %v as a collection's", id, CheckID(id), CheckCollectionID(id))
		}
		if n, ok := NumericID(id); !ok || numericID(n) != id {
			t.Errorf("NumericID(%q) = %d, %v", id, n, ok)
		}
	}
	for _, id := range illegal {
		if CheckID(id) == nil || CheckCollectionID(id) == nil {
			t.Errorf("id %q is taken", id)
		}
	}
	if got, want := mustDocument(t, "c/__id7__").Size(), mustDocument(t, "c/1234567").Size(); got != want {
		t.Errorf("size of a name with a numeric id = %d, want %d: the number counts 8 bytes", got, want)
	}
}
