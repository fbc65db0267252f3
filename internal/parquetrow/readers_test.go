package parquetrow_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"exportd/internal/machinetest"
	"exportd/internal/parquetrow"
)

// joined is a file of several parts.
func joined(t testing.TB, parts ...[]byte) (whole []byte) {
	t.Helper()
	var join parquetrow.Join
	for _, part := range parts {
		n, err := parquetrow.FooterBytes(part)
		if err == nil {
			err = join.Add(part[int64(len(part))-n:], int64(len(part)))
		}
		if err != nil {
			t.Fatal(err)
		}
		whole = append(whole, part...)
	}
	footer, err := join.Footer()
	if err != nil {
		t.Fatal(err)
	}
	return append(whole, footer...)
}

// TestReaders: readers that others have written find the same rows in files of one part and of several.
func TestReaders(t *testing.T) {
	t.Parallel()
	folder := filepath.Join("testdata", "readers")
	if _, err := os.Stat(filepath.Join(folder, "node_modules")); err != nil {
		machinetest.Lacks(t, "readers of Parquet (npm ci --prefix internal/parquetrow/testdata/readers)")
	}
	machinetest.Program(t, "node")
	r := rand.New(rand.NewPCG(31, 32))
	for _, d := range builtIn {
		docs, want, _ := random(r, d, 2000)
		one := encode(t, parquetrow.NewEncoder(d, nil), docs...)
		several := joined(t, encode(t, parquetrow.NewEncoder(d, nil), docs[:700]...), encode(t, parquetrow.NewEncoder(d, nil), docs[700]),
			encode(t, parquetrow.NewEncoder(d, nil), docs[701:]...))
		places := r.Perm(len(d.Columns))[:5]
		some, wantSome, _ := chosen(r, names(d, places), 500)
		few := joined(t, encode(t, parquetrow.NewEncoder(d, places), some[:300]...), encode(t, parquetrow.NewEncoder(d, places), some[300:]...))
		for name, file := range map[string][]byte{"one": one, "several": several, "chosen": few} {
			path, err := filepath.Abs(filepath.Join(t.TempDir(), d.Name+"-"+name+".parquet"))
			if err == nil {
				err = os.WriteFile(path, file, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
			want, readers := want, []string{"duckdb", "hyparquet", "arrow"}
			if name == "chosen" {
				want, readers = wantSome, readers[:1]
			}
			for _, reader := range readers {
				t.Run(d.Name+"/"+name+"/"+reader, func(t *testing.T) {
					cmd := exec.CommandContext(t.Context(), "node", filepath.Join(folder, "read.mjs"), reader, path)
					var stderr bytes.Buffer
					cmd.Stderr = &stderr
					out, err := cmd.Output()
					if err != nil {
						t.Fatalf("%v: %s", err, stderr.Bytes())
					}
					compare(t, rowsOf(t, out), want)
				})
			}
		}
	}
}

// rowsOf reads rows as read.mjs prints them.
func rowsOf(t *testing.T, out []byte) (rows [][]any) {
	t.Helper()
	lines := bufio.NewScanner(bytes.NewReader(out))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var row []any
		if err := json.Unmarshal(lines.Bytes(), &row); err != nil {
			t.Fatal(err)
		}
		rows = append(rows, row)
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return rows
}
