package rowdiff_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"exportd/internal/rowdiff"
)

// runs keeps runs in memory, and how many there have been at a time.
type runs struct {
	there map[string][]byte
	made  int
	most  int
}

func (r *runs) Write(fn func(io.Writer) error) (string, error) {
	var b bytes.Buffer
	if err := fn(&b); err != nil {
		return "", err
	}
	name := fmt.Sprint(r.made)
	r.made++
	r.there[name] = b.Bytes()
	r.most = max(r.most, len(r.there))
	return name, nil
}

func (r *runs) Read(name string) (io.ReadCloser, error) {
	b, ok := r.there[name]
	if !ok {
		return nil, fmt.Errorf("no run %s", name)
	}
	return io.NopCloser(bytes.NewReader(b)), nil
}

func (r *runs) Forget(name string) { delete(r.there, name) }

// table is rows by id, and the order that they are in.
type table struct {
	rows  map[string]string
	order []string
}

func (t table) file() string {
	var b strings.Builder
	b.WriteString("change me,id\r\n")
	for _, id := range t.order {
		b.WriteString(t.rows[id])
	}
	return b.String()
}

// tables makes a table and what became of it: of n rows, some removed, changed, moved, both, and some added.
func tables(r *rand.Rand, n, changes int) (was, is table) {
	row := func(id string) string {
		text := []string{"plain", `"a ""quote"""`, "\"two\r\nlines\"", "\",\"", ""}[r.IntN(5)]
		return fmt.Sprintf("%s,%s,%d\r\n", text, id, r.IntN(1000))
	}
	was, is = table{rows: map[string]string{}}, table{rows: map[string]string{}}
	for i := range n {
		id := fmt.Sprintf("u%d", i)
		if i%7 == 0 {
			id = fmt.Sprintf(`"u,""%d"`, i)
		}
		was.rows[id], was.order = row(id), append(was.order, id)
	}
	is.rows, is.order = maps.Clone(was.rows), slices.Clone(was.order)
	for range changes {
		i := r.IntN(len(is.order))
		id := is.order[i]
		switch r.IntN(4) {
		case 0:
			delete(is.rows, id)
			is.order = slices.Delete(is.order, i, i+1)
		case 1:
			is.rows[id] = row(id)
		case 2:
			is.order = slices.Insert(slices.Delete(is.order, i, i+1), r.IntN(len(is.order)), id)
		case 3:
			id = fmt.Sprintf("new%d", r.IntN(1<<30))
			is.rows[id], is.order = row(id), slices.Insert(is.order, i, id)
		}
		if len(is.order) == 0 {
			break
		}
	}
	return was, is
}

// TestCompare: what is told applied to the earlier rows gives the later ones, each id comes once, and the
// counts are those of a comparison of two maps, whatever is kept in memory and whatever order rows are in.
func TestCompare(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 30 {
		was, is := tables(r, 1+r.IntN(150), r.IntN(60))
		if i%5 == 0 {
			r.Shuffle(len(is.order), func(a, b int) { is.order[a], is.order[b] = is.order[b], is.order[a] })
		}
		var want rowdiff.Counts
		for id, row := range is.rows {
			switch old, there := was.rows[id]; {
			case !there:
				want.Added++
			case old != row:
				want.Changed++
			default:
				want.Unchanged++
			}
		}
		want.Removed = int64(len(was.rows)) - want.Changed - want.Unchanged
		for _, maxBytes := range []int{0, 3000, 1 << 20} {
			store := &runs{there: map[string][]byte{}}
			applied, told := maps.Clone(was.rows), map[string]bool{}
			got, err := rowdiff.Compare(t.Context(), csv(was.file()), csv(is.file()), rowdiff.Config{
				MaxBytes: maxBytes, MaxRuns: 3, Runs: store,
				Emit: func(kind rowdiff.Kind, row []byte) error {
					id, _, err := csv("\r\n" + string(row)).Next()
					if err != nil || told[string(id)] {
						t.Errorf("id %q comes twice, or not at all: %v", id, err)
					}
					told[string(id)] = true
					if _, there := applied[string(id)]; there != (kind != rowdiff.Added) {
						t.Errorf("id %q is of kind %d", id, kind)
					}
					if kind == rowdiff.Removed {
						if applied[string(id)] != string(row) {
							t.Errorf("removed row %q is not as it was", row)
						}
						delete(applied, string(id))
						return nil
					}
					applied[string(id)] = string(row)
					return nil
				},
			})
			if err != nil || got != want || !maps.Equal(applied, is.rows) {
				t.Fatalf("case %d, %d bytes: %+v, want %+v, equal: %t, error %v", i, maxBytes, got, want, maps.Equal(applied, is.rows), err)
			}
			if len(store.there) > 0 || store.most > 4 || maxBytes == 0 && store.made == 0 && want.Added+want.Removed > 0 {
				t.Fatalf("case %d: %d runs are left, %d at a time, %d in all", i, len(store.there), store.most, store.made)
			}
		}
	}
}

func csv(file string) *rowdiff.File { return rowdiff.CSV(strings.NewReader(file), ',', 1, true) }

// TestKeepsChangesAlone: a row that was added or removed at the beginning has no other rows kept: what is
// kept does not grow with the rows that are as they were.
func TestKeepsChangesAlone(t *testing.T) {
	t.Parallel()
	was, is := tables(rand.New(rand.NewPCG(3, 4)), 5000, 0)
	is.order = is.order[20:]
	for i := range 10 {
		id := fmt.Sprintf("new%d", i)
		is.rows[id], is.order = "x,"+id+",1\r\n", slices.Insert(is.order, i, id)
	}
	store := &runs{there: map[string][]byte{}}
	got, err := rowdiff.Compare(t.Context(), csv(was.file()), csv(is.file()), rowdiff.Config{
		MaxBytes: 60 * 200, MaxRuns: 2, Runs: store, Emit: func(rowdiff.Kind, []byte) error { return nil },
	})
	if want := (rowdiff.Counts{Added: 10, Removed: 20, Unchanged: 4980}); err != nil || got != want || store.made > 0 {
		t.Fatalf("%+v, %d runs, error %v; want %+v and none", got, store.made, err, want)
	}
}

// TestCompareRefuses: what no export has written is no file of rows, and an id that comes twice ends the
// comparison rather than losing a row.
func TestCompareRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		file string
		want error
	}{
		"two of one id":   {"h\r\na,x,1\r\nb,x,2\r\n", rowdiff.ErrTwice},
		"no header":       {"", rowdiff.ErrMalformed},
		"no end":          {"h\r\na,x,1", rowdiff.ErrMalformed},
		"an open quote":   {"h\r\n\"a,x,1\r\n", rowdiff.ErrMalformed},
		"no such column":  {"h\r\na\r\n", rowdiff.ErrMalformed},
		"a quoted column": {"h\r\n\"a\"\r\n", rowdiff.ErrMalformed},
	} {
		for _, maxBytes := range []int{0, 1 << 20} {
			_, err := rowdiff.Compare(t.Context(), csv(c.file), csv("h\r\n"), rowdiff.Config{
				MaxBytes: maxBytes, MaxRuns: 2, Runs: &runs{there: map[string][]byte{}}, Emit: func(rowdiff.Kind, []byte) error { return nil },
			})
			if !errors.Is(err, c.want) {
				t.Errorf("%s: %v, want %v", name, err, c.want)
			}
		}
	}
}

// TestFiles: rows and ids are found whatever is in the cells.
func TestFiles(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("é\"\"\r\n", 100_000)
	for name, c := range map[string]struct {
		file *rowdiff.File
		ids  []string
	}{
		"csv":                {rowdiff.CSV(strings.NewReader("a;\"b\r\n;\"\"\"\r\n\"\"\";\r\n\";x\r\n;\r\n"), ';', 1, false), []string{"\"b\r\n;\"\"\"", "x", ""}},
		"long":               {rowdiff.CSV(strings.NewReader("h\r\n\""+long+"\",id\r\n\"\",\"\"\r\n"), ',', 1, true), []string{"id", `""`}},
		"single":             {rowdiff.CSV(strings.NewReader("id\r\n\"\"\r\nx\r\n"), ',', 0, true), []string{`""`, "x"}},
		"jsonl, id anywhere": {rowdiff.JSONL(strings.NewReader(`{"x":"\"id\":\"b\"","y":["id"],"p":{"id":"c"},"id":"a\"","z":1}` + "\n" + `{"x":"id","id":"d"}` + "\n")), []string{`a\"`, "d"}},
		"jsonl":              {rowdiff.JSONL(strings.NewReader("{\"id\":\"a\\\"b\\\\\",\"x\":1}\n{\"id\":\"\"}\n")), []string{`a\"b\\`, ""}},
	} {
		var ids []string
		var err error
		for err == nil {
			var id []byte
			if id, _, err = c.file.Next(); err == nil {
				ids = append(ids, string(id))
			}
		}
		if err != io.EOF || !slices.Equal(ids, c.ids) {
			t.Errorf("%s: %q, %v; want %q", name, ids, err, c.ids)
		}
	}
}

// FuzzCSV: whatever a file is, its rows laid end to end are the file, or it is malformed.
func FuzzCSV(f *testing.F) {
	f.Add("h\r\na,\"b\r\n\",c\r\n")
	f.Add("h\r\n\"\"\"")
	f.Fuzz(func(t *testing.T, file string) {
		rows := rowdiff.CSV(strings.NewReader(file), ',', 0, false)
		var all []byte
		for {
			_, row, err := rows.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				if !errors.Is(err, rowdiff.ErrMalformed) {
					t.Fatal(err)
				}
				return
			}
			all = append(all, row...)
		}
		if string(all) != file {
			t.Fatalf("%q, want %q", all, file)
		}
	})
}
