package export_test

import (
	"crypto/sha256"
	"encoding/hex"
	"testing"

	"exportd/internal/export"
	"exportd/internal/objectstore/crc32c"
	"exportd/jobs"
)

// TestPieces: whatever the form of a file and its parts, its pieces lie end to end from its first byte to its
// last, each with the checksums of its bytes, and their rows are those of the file.
func TestPieces(t *testing.T) {
	t.Parallel()
	docs := users(t, 90, 20)
	excel := jobs.Params{jobs.ParamProfile: jobs.ProfileExcel, jobs.ParamExcelForm: jobs.ExcelUTF16}
	for name, c := range map[string]struct {
		params jobs.Params
		sheets int64
		frames int
	}{
		"CSV":     {},
		"gzip":    {params: jobs.Params{jobs.ParamCompression: jobs.CompressionGzip}},
		"JSONL":   {params: jobs.Params{jobs.ParamFormat: jobs.FormatJSONL}},
		"Parquet": {params: jobs.Params{jobs.ParamFormat: jobs.FormatParquet}, frames: 1},
		"zip":     {params: excel, sheets: 40, frames: 4},
	} {
		r := newRig(t, &source{}, export.Config{})
		j := newJob()
		for n, v := range c.params {
			j.Params = j.Params.With(n, v)
		}
		j.SheetRows = c.sheets
		parts := r.inParts(t, j, docs, 20)
		res, _, err := r.Compose(t.Context(), j, parts, j.ResultName())
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		j.Result = res
		file := r.read(t, res.Object)
		pieces := export.Pieces(j, parts)
		if len(pieces) != len(parts)+c.frames || res.Digest.Of(res.Object).SHA256 != "" {
			t.Errorf("%s: %d pieces of %d parts, %+v", name, len(pieces), len(parts), res.Digest)
		}
		rows, end := int64(0), int64(0)
		for i, p := range pieces {
			b := file[p.Offset : p.Offset+p.Size]
			if sum := sha256.Sum256(b); p.Offset != end || p.SHA256 != hex.EncodeToString(sum[:]) || p.CRC32C != crc32c.Update(0, b) {
				t.Errorf("%s: piece %d is %+v, the one before ends at %d", name, i, p, end)
			}
			rows, end = rows+p.Rows, end+p.Size
		}
		if rows != 90 || end != int64(len(file)) {
			t.Errorf("%s: the pieces have %d rows and %d of %d bytes", name, rows, end, len(file))
		}
		parts[1].Digest = nil // of a build that does not know it
		if p := export.Pieces(j, parts); len(p) != len(pieces) || p[len(p)-1] != pieces[len(p)-1] {
			t.Errorf("%s: with a part that nobody has hashed the pieces are %+v", name, p)
		}
		alone := export.Piece{Size: res.Size, CRC32C: res.CRC32C, Rows: 90}
		good := *parts[2]
		for what, spoil := range map[string]func(){
			"a part is damaged":       func() { parts[2].Damage = "a list" },
			"a part is not done":      func() { parts[2].State = jobs.PartRunning },
			"a part has another size": func() { parts[2].Size++ },
			"a part has another sum":  func() { parts[2].CRC32C++ },
			"frames are of another":   func() { j.Result.Digest = &jobs.Digest{Object: "another", Frames: res.Digest.Frames} },
		} {
			spoil()
			p := export.Pieces(j, parts)
			if unknown := j.Result.Digest == res.Digest || c.frames > 0; unknown != (len(p) == 1 && p[0] == alone) {
				t.Errorf("%s: where %s the pieces are %+v", name, what, p)
			}
			*parts[2], j.Result = good, res
		}
	}
}

// TestDigestOfAWhole: a file that was written at once, of all rows or of changes, has one piece with the
// SHA-256 of the file.
func TestDigestOfAWhole(t *testing.T) {
	t.Parallel()
	r := newRig(t, &source{}, export.Config{KeptBytes: 1})
	docs := users(t, 3000, 200)
	j, whole := r.comparing(t, newJob().Params, docs[:2900], docs[100:])
	changes, err := r.Changes(t.Context(), j, whole, j.ResultName())
	if err != nil {
		t.Fatal(err)
	}
	for _, res := range []jobs.Result{whole, changes} {
		j.Result = res
		sum := sha256.Sum256(r.read(t, res.Object))
		p := export.Pieces(j, []*jobs.Part{{State: jobs.PartDone, Size: 7}})
		if len(p) != 1 || p[0].SHA256 != hex.EncodeToString(sum[:]) || p[0].Size != res.Size || p[0].Rows != res.FileRows() {
			t.Errorf("the pieces of %s are %+v", res.Object, p)
		}
	}
}
