package export

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"time"

	"golang.org/x/sync/errgroup"

	"exportd/internal/dataset"
	"exportd/internal/objectstore/crc32c"
	"exportd/internal/panics"
	"exportd/jobs"
)

// SheetLines is how many lines a sheet of Excel has, the header among them.
const SheetLines = 1 << 20

// sheetRoom is how many rows a file for Excel has room for; 0 says nothing, of any other.
func (c Config) sheetRoom(p jobs.Params) int64 {
	switch {
	case !p.Excel():
		return 0
	case c.SheetRows > 0:
		return c.SheetRows
	case p.Text(jobs.ParamHeader) == jobs.HeaderOff:
		return SheetLines
	}
	return SheetLines - 1
}

// sheetRows is how many rows each sheet of an export has at most; 0 where it has not several.
func (c Config) sheetRows(p jobs.Params, rows int64) int64 {
	if most := c.sheetRoom(p); rows > most {
		return most
	}
	return 0
}

// PastSheet says why an export has more rows than its file can have; nil where it has not.
func PastSheet(p jobs.Params, rows int64) *jobs.Failure { return Config{}.pastSheet(p, rows) }

func (c Config) pastSheet(p jobs.Params, rows int64) *jobs.Failure {
	most := c.sheetRows(p, rows)
	if most == 0 || !p.Gzip() {
		return nil
	}
	return jobs.Fail(jobs.CodeTooManyRows, jobs.Permanent, fmt.Sprintf("the export has %d rows, a compressed sheet of Excel has room for %d", rows, most),
		"ask without compression=gzip for a zip of sheets, for a smaller window or more filters, or for a file without profile=excel", nil)
}

// fitSheets refuses a plan of which a part is no part of a sheet: its rows have one sort key and ids that
// nothing tells apart.
func (c Config) fitSheets(ranges []jobs.Range, most int64) error {
	for _, r := range ranges {
		if r.Rows > most {
			return notInSheets(fmt.Sprintf("%d rows of the export cannot be parted, a sheet of Excel has room for %d", r.Rows, most))
		}
	}
	if len(ranges) > c.MaxParts {
		return notInSheets(fmt.Sprintf("the export has more rows than %d sheets of Excel have room for", c.MaxParts))
	}
	return nil
}

func notInSheets(message string) error {
	return jobs.Fail(jobs.CodeTooManyRows, jobs.Permanent, message, "ask for a smaller window or more filters, or for a file without profile=excel", nil)
}

// Sheet is a file in the zip of a job.
type Sheet struct {
	Name  string
	Rows  int64
	Plain jobs.Plain // of its bytes as they are unpacked

	head   []byte // what it begins with, deflated
	packed int64  // bytes in the zip
	parts  []*jobs.Part
}

// Sheets are the files in the zip of a job, nil of any other file: each has as many of the parts, which are
// done and in order, as it has room for. It needs no look at these, so that whoever asks is told the same.
func Sheets(d *dataset.Dataset, j *jobs.Job, parts []*jobs.Part) ([]Sheet, error) {
	if j.SheetRows == 0 {
		return nil, nil
	}
	head, plain, err := sheetHead(d, j)
	if err != nil {
		return nil, err
	}
	var sheets []Sheet
	for _, p := range parts {
		if p.Plain == nil || p.Rows > j.SheetRows {
			return nil, damagedPlan(j) // a build that knows no sheets has written it
		}
		if n := len(sheets); n == 0 || sheets[n-1].Rows+p.Rows > j.SheetRows {
			sheets = append(sheets, Sheet{Name: j.SheetName(n + 1), Plain: plain, head: head, packed: int64(len(head) + len(lastBlock))})
		}
		s := &sheets[len(sheets)-1]
		s.parts = append(s.parts, p)
		s.Rows += p.Rows
		s.packed += p.Size
		s.Plain.CRC32 = crc32c.CombineIEEE(s.Plain.CRC32, p.Plain.CRC32, p.Plain.Size)
		s.Plain.Size += p.Plain.Size
	}
	return sheets, nil
}

// sheetHead is what each sheet begins with, deflated, and what that is of.
func sheetHead(d *dataset.Dataset, j *jobs.Job) ([]byte, jobs.Plain, error) {
	f, err := formOf(j)
	if err != nil {
		return nil, jobs.Plain{}, err
	}
	enc, err := f.encoder(d)
	if err != nil {
		return nil, jobs.Plain{}, err
	}
	p := f.newPacker()
	head, err := p.pack(enc.AppendHeader(nil), true)
	return head, *p.plain, err
}

// framesAtOnce are the objects between parts that are written at a time.
const framesAtOnce = 8

// layZip writes what a zip has around its parts, and gives the objects that it is, in order. Where some were
// written before a crash or an error, the same bytes have their names already.
func (e *Exporter) layZip(ctx context.Context, f form, d *dataset.Dataset, j *jobs.Job, parts []*jobs.Part, dst string) ([]laid, error) {
	sheets, err := Sheets(d, j, parts)
	if err != nil {
		return nil, err
	}
	frames, err := zipFrames(sheets, j.SnapshotTime)
	if err != nil {
		return nil, err
	}
	objects := make([]laid, len(frames))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(framesAtOnce)
	for i, frame := range frames {
		name := dst + endSuffix
		if i < len(sheets) {
			name = fmt.Sprintf("%s.sheet-%03d", dst, i+1)
		}
		g.Go(panics.Task(func() (err error) {
			objects[i], err = e.writeFrame(ctx, f, name, frame)
			return err
		}))
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	var all []laid
	for i, s := range sheets {
		all = append(append(all, objects[i]), objectsOf(s.parts)...)
	}
	return append(all, objects[len(sheets)]), nil
}

// lastBlock ends a stream of deflate that was flushed: an empty block of fixed codes that is marked as the
// last one.
var lastBlock = []byte{3, 0}

// zipFrames are the bytes of a zip that are not those of parts: what stands before the parts of each sheet,
// and behind those of the last. It is written whole, but for the parts.
func zipFrames(sheets []Sheet, at time.Time) (frames [][]byte, err error) {
	out, parts := &frame{}, make([]byte, 1<<20)
	w := zip.NewWriter(out)
	for i := range sheets {
		s := &sheets[i]
		body, err := createSheet(w, s, at)
		if err != nil {
			return nil, err
		}
		if _, err := body.Write(s.head); err != nil {
			return nil, err
		}
		if err := w.Flush(); err != nil {
			return nil, err
		}
		frames = append(frames, out.take())
		out.skip = true
		for n := s.packed - int64(len(s.head)+len(lastBlock)); n > 0; n -= int64(len(parts)) {
			if _, err := body.Write(parts[:min(n, int64(len(parts)))]); err != nil {
				return nil, err
			}
		}
		if err := w.Flush(); err != nil {
			return nil, err
		}
		out.skip = false
		if _, err := body.Write(lastBlock); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return append(frames, out.take()), nil
}

// frame keeps the bytes that are written to it, but those that it is to skip.
type frame struct {
	bytes []byte
	skip  bool
}

func (f *frame) Write(b []byte) (int, error) {
	if !f.skip {
		f.bytes = append(f.bytes, b...)
	}
	return len(b), nil
}

func (f *frame) take() []byte {
	b := f.bytes
	f.bytes = nil
	return b
}

// zip64 is the id of the field that has the sizes of a file that 32 bits do not hold.
const zip64 = 1

// createSheet begins a file of a zip whose sizes and checksum are known, so that readers of streams find them
// before its bytes.
func createSheet(w *zip.Writer, s *Sheet, at time.Time) (io.Writer, error) {
	h := &zip.FileHeader{Name: s.Name, Method: zip.Deflate, Modified: at.UTC()}
	// Writing raw leaves it to the caller how a time is put; a writer that is not raw does it.
	if _, err := zip.NewWriter(io.Discard).CreateHeader(h); err != nil {
		return nil, err
	}
	const descriptor = 8 // the flag that says that sizes and checksum come behind the bytes
	h.Flags &^= descriptor
	h.CRC32, h.CompressedSize64, h.UncompressedSize64 = s.Plain.CRC32, uint64(s.packed), uint64(s.Plain.Size)
	if max(s.packed, s.Plain.Size) < math.MaxUint32 {
		return w.CreateRaw(h)
	}
	// The writer has such a field in the directory alone: the header before the bytes gets one of its own.
	const version45 = 45 // of zip, that has them
	h.ReaderVersion = version45
	extra := h.Extra
	field := binary.LittleEndian.AppendUint16(bytes.Clone(extra), zip64)
	field = binary.LittleEndian.AppendUint16(field, 16)
	field = binary.LittleEndian.AppendUint64(field, h.UncompressedSize64)
	h.Extra = binary.LittleEndian.AppendUint64(field, h.CompressedSize64)
	h.CompressedSize64, h.UncompressedSize64 = math.MaxUint32, math.MaxUint32
	body, err := w.CreateRaw(h)
	h.Extra, h.CompressedSize64, h.UncompressedSize64 = extra, uint64(s.packed), uint64(s.Plain.Size)
	return body, err
}
