package dataset_test

import (
	"flag"
	"os"
	"testing"

	"exportd/internal/dataset"
)

var update = flag.Bool("update", false, "write deployments/firestore.indexes.json anew")

// TestIndexFile: the index file has what the datasets need, and the file that it would be written as is the
// one that is there.
func TestIndexFile(t *testing.T) {
	t.Parallel()
	const path = "../../deployments/firestore.indexes.json"
	have, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want, err := dataset.BuiltIn.IndexFile(have)
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(path, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if string(have) != string(want) && !*update {
		t.Errorf("%s is not what the datasets give: make generate", path)
	}
}
