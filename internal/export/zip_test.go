package export

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"exportd/internal/dataset"
	"exportd/internal/vip"
	"exportd/jobs"
)

// sparse is a file of which only some bytes are there, by their offsets; the others are 0.
type sparse struct {
	size   int64
	pieces map[int64][]byte
}

func (s *sparse) add(b []byte, hole int64) {
	s.pieces[s.size] = b
	s.size += int64(len(b)) + hole
}

func (s *sparse) ReadAt(b []byte, off int64) (int, error) {
	clear(b)
	for at, piece := range s.pieces {
		if from, to := max(at, off), min(at+int64(len(piece)), off+int64(len(b))); from < to {
			copy(b[from-off:to-off], piece[from-at:])
		}
	}
	if n := s.size - off; n < int64(len(b)) {
		return int(max(0, n)), io.EOF
	}
	return len(b), nil
}

// TestZip64: sizes and offsets that 32 bits do not hold are read as they are, before the bytes of a sheet and
// in the directory.
func TestZip64(t *testing.T) {
	t.Parallel()
	head := []byte("head")
	sizes := [][2]int64{{100, 1000}, {200, math.MaxUint32 - 1}, {300, math.MaxUint32}, {5 << 30, 30 << 30}, {400, 4000}} // packed and not
	var sheets []Sheet
	for i, s := range sizes {
		sheets = append(sheets, Sheet{Name: "sheet-" + strconv.Itoa(i), head: head, packed: s[0], Plain: jobs.Plain{Size: s[1], CRC32: uint32(i) * 77}})
	}
	frames, err := zipFrames(sheets, time.Date(2026, 3, 4, 12, 34, 56, 0, time.UTC))
	if err != nil {
		t.Fatal(err)
	}
	file := &sparse{pieces: map[int64][]byte{}}
	for i, frame := range frames {
		hole := int64(0)
		if i < len(sizes) {
			hole = sizes[i][0] - int64(len(head)+len(lastBlock))
		}
		file.add(frame, hole)
	}
	z, err := zip.NewReader(file, file.size)
	if err != nil {
		t.Fatal(err)
	}
	end := int64(0)
	for i, f := range z.File {
		at, err := f.DataOffset()
		if err != nil || f.Name != sheets[i].Name || f.CompressedSize64 != uint64(sizes[i][0]) || f.UncompressedSize64 != uint64(sizes[i][1]) || f.CRC32 != uint32(i)*77 {
			t.Fatalf("%d: %+v, %v", i, f.FileHeader, err)
		}
		local, first, last := make([]byte, at-end), make([]byte, len(head)), make([]byte, len(lastBlock))
		for off, b := range map[int64][]byte{end: local, at: first, at + sizes[i][0] - int64(len(lastBlock)): last} {
			if _, err := file.ReadAt(b, off); err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(first, head) || !bytes.Equal(last, lastBlock) {
			t.Errorf("%d: begins with %q, ends with %x", i, first, last)
		}
		little := binary.LittleEndian
		packed, plain := uint64(little.Uint32(local[18:])), uint64(little.Uint32(local[22:]))
		if plain == math.MaxUint32 { // both are in the field behind the name
			field := local[len(local)-20:]
			if packed != math.MaxUint32 || little.Uint32(field) != 16<<16|1 || local[4] != 45 {
				t.Fatalf("%d: before its bytes stands %x", i, local)
			}
			plain, packed = little.Uint64(field[4:]), little.Uint64(field[12:])
		}
		if packed != f.CompressedSize64 || plain != f.UncompressedSize64 {
			t.Errorf("%d: before its bytes stand %d and %d", i, packed, plain)
		}
		end = at + sizes[i][0]
	}
	if len(z.File) != len(sizes) {
		t.Errorf("%d files", len(z.File))
	}
}

// TestPlanSheets: an export of more rows than a sheet has room for is planned so that no part exceeds one;
// where that cannot be, and for a file that is compressed, it fails.
func TestPlanSheets(t *testing.T) {
	t.Parallel()
	excel := jobs.Params{jobs.ParamProfile: jobs.ProfileExcel, jobs.ParamExcelForm: jobs.ExcelUTF16}
	apart := func(i int) string { return "id-" + strconv.Itoa(1000+i) }
	for name, c := range map[string]struct {
		params jobs.Params
		cfg    Config
		id     func(i int) string
		sheet  int64
		code   jobs.Code
	}{
		"a file of CSV":          {params: jobs.Params{}, cfg: Config{PartRows: 1000, SheetRows: 40}},
		"one sheet":              {params: excel, cfg: Config{PartRows: 1000, SheetRows: 300}},
		"one in parts":           {params: excel, cfg: Config{PartRows: 40, SheetRows: 300}},
		"sheets":                 {params: excel, cfg: Config{PartRows: 40, SheetRows: 299}, sheet: 299},
		"parts that were larger": {params: excel, cfg: Config{PartRows: 1000, SheetRows: 40}, sheet: 40},
		"more than there may be": {params: excel, cfg: Config{PartRows: 1000, SheetRows: 40, MaxParts: 5}, code: jobs.CodeTooManyRows},
		"compressed":             {params: excel.With(jobs.ParamCompression, jobs.CompressionGzip), cfg: Config{PartRows: 1000, SheetRows: 299}, code: jobs.CodeTooManyRows},
		"compressed, one":        {params: excel.With(jobs.ParamCompression, jobs.CompressionGzip), cfg: Config{PartRows: 1000, SheetRows: 300}},
		"ids that nothing parts": {params: excel, cfg: Config{PartRows: 1000, SheetRows: 2}, id: func(i int) string { return strings.Repeat("a", i+1) }, code: jobs.CodeTooManyRows},
	} {
		if c.cfg.MaxParts == 0 {
			c.cfg.MaxParts = 1000
		}
		if c.id == nil {
			c.id = apart
		}
		tb := &table{t: t}
		for i := range 300 {
			tb.rows = append(tb.rows, tableRow{vip.DoubleKey(0), c.id(i)})
		}
		tb.sort()
		plan, err := New(tb, nil, c.cfg).Plan(t.Context(), &jobs.Job{Kind: "vip-users", Columns: dataset.VIPUsers.Version, SnapshotTime: time.Unix(1, 0), Params: c.params})
		var f *jobs.Failure
		if c.code != "" {
			if !errors.As(err, &f) || f.Code != c.code || f.Class != jobs.Permanent {
				t.Errorf("%s: Plan() = %.200v", name, err)
			}
			continue
		}
		if err != nil || plan.SheetRows != c.sheet || plan.Rows != 300 {
			t.Errorf("%s: Plan() = %d rows in sheets of %d, %v", name, plan.Rows, plan.SheetRows, err)
		}
		if c.sheet > 0 && slices.ContainsFunc(plan.Parts, func(r jobs.Range) bool { return r.Rows > c.sheet }) {
			t.Errorf("%s: one of %d parts has more rows", name, len(plan.Parts))
		}
	}
}

// TestSheetRoom: the header is one of a sheet's lines.
func TestSheetRoom(t *testing.T) {
	t.Parallel()
	excel := jobs.Params{jobs.ParamProfile: jobs.ProfileExcel, jobs.ParamExcelForm: jobs.ExcelUTF16}
	bare := excel.With(jobs.ParamHeader, jobs.HeaderOff)
	for _, c := range []struct {
		params     jobs.Params
		rows, want int64
	}{
		{excel, 0, 0}, {excel, 1, 0}, {excel, 1_048_575, 0}, {excel, 1_048_576, 1_048_575}, {excel, 50_000_000, 1_048_575},
		{bare, 1_048_576, 0}, {bare, 1_048_577, 1_048_576}, {jobs.Params{}, 50_000_000, 0},
	} {
		if got := (Config{}).sheetRows(c.params, c.rows); got != c.want {
			t.Errorf("%d rows of %v are in sheets of %d, want %d", c.rows, c.params, got, c.want)
		}
		if past := PastSheet(c.params.With(jobs.ParamCompression, jobs.CompressionGzip), c.rows); (past != nil) != (c.want > 0) {
			t.Errorf("%d compressed rows of %v: %v", c.rows, c.params, past)
		}
	}
}

// TestFullSheets: parts fill a sheet to its last line, and one row more begins another.
func TestFullSheets(t *testing.T) {
	t.Parallel()
	j := &jobs.Job{Kind: "vip-users", SheetRows: SheetLines - 1, Params: jobs.Params{jobs.ParamProfile: jobs.ProfileExcel, jobs.ParamExcelForm: jobs.ExcelUTF16}}
	plain := &jobs.Plain{}
	for _, c := range []struct{ parts, want []int64 }{
		{[]int64{SheetLines - 1}, []int64{SheetLines - 1}},
		{[]int64{SheetLines - 2, 1}, []int64{SheetLines - 1}},
		{[]int64{SheetLines - 2, 1, 1}, []int64{SheetLines - 1, 1}},
		{[]int64{SheetLines - 1, SheetLines - 1, 1}, []int64{SheetLines - 1, SheetLines - 1, 1}},
		{[]int64{1, SheetLines - 1, 1}, []int64{1, SheetLines - 1, 1}},
	} {
		var parts []*jobs.Part
		for _, rows := range c.parts {
			parts = append(parts, &jobs.Part{Rows: rows, Plain: plain})
		}
		sheets, err := Sheets(dataset.VIPUsers, j, parts)
		var got []int64
		for _, s := range sheets {
			got = append(got, s.Rows)
		}
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("parts of %v rows make sheets of %v, %v; want %v", c.parts, got, err, c.want)
		}
	}
}
