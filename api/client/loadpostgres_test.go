package client_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestLoadPostgres: the example loads cells of any size, and leaves the table alone where a file cannot be
// read to its end.
func TestLoadPostgres(t *testing.T) {
	t.Parallel()
	folder, env := startPostgres(t)
	path := filepath.Join(folder, "export.csv")
	whole := "id,\"text\"\r\n1,\"" + strings.Repeat("a \"\"b\"\",\r\n\\.\r\n", 1<<16) + "\"\r\n2,\r\n"
	load := func(file string) ([]byte, error) {
		if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), "python3", "load_postgres.py", "export.csv", "messages")
		cmd.Dir, cmd.Env = folder, append(os.Environ(), env...)
		return cmd.CombinedOutput()
	}
	if out, err := load(whole); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	rows := strings.Repeat("3,c\r\n", 1<<16)
	for name, file := range map[string]string{
		"not UTF-8":       "id,\"text\"\r\n" + rows + "4,\xff\r\n",
		"too few columns": "id,\"text\"\r\n" + rows + "4\r\n",
	} {
		if out, err := load(file); err == nil || len(out) == 0 {
			t.Errorf("%s: loaded, or nothing said: %v\n%s", name, err, out)
		}
		got := output(t, folder, env, "psql", "--no-psqlrc", "--command", "COPY messages TO STDOUT (FORMAT csv, HEADER)")
		if diff := cmp.Diff(cells(t, []byte(whole)), cells(t, []byte(got))); diff != "" {
			t.Errorf("%s: the file before (-) and the table (+) differ:\n%.1000s", name, diff)
		}
	}
}
