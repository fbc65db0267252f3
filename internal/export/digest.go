package export

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"hash"

	"exportd/internal/objectstore/crc32c"
	"exportd/jobs"
)

// hashedWriter writes an object, and takes the SHA-256 of what it writes.
type hashedWriter struct {
	jobs.ObjectWriter
	name string
	sum  hash.Hash
}

func (e *Exporter) create(ctx context.Context, name string, attrs jobs.ObjectAttrs) *hashedWriter {
	return &hashedWriter{e.objects.Create(ctx, name, attrs), name, sha256.New()}
}

func (w *hashedWriter) Write(b []byte) (int, error) {
	w.sum.Write(b) // never fails
	return w.ObjectWriter.Write(b)
}

func (w *hashedWriter) digest() *jobs.Digest {
	return &jobs.Digest{Object: w.name, SHA256: hex.EncodeToString(w.sum.Sum(nil))}
}

// Piece is a stretch of a file that was written at once: a part, what stands between parts or behind them, or
// the whole file.
type Piece struct {
	Offset, Size int64
	CRC32C       uint32
	SHA256       string // "" where nobody has taken it
	Rows         int64
	Guarded      int64
	Rescued      int64
}

// Pieces are those of a succeeded job's file, end to end, by its parts in their order. Where a record is
// damaged, or of a build that did not note what stands between parts, the file is one piece; so is one of
// changes, which whoever has compared the parts wrote.
func Pieces(j *jobs.Job, parts []*jobs.Part) []Piece {
	r := j.Result
	known := r.Digest.Of(r.Object)
	whole := []Piece{{Size: r.Size, CRC32C: r.CRC32C, SHA256: known.SHA256, Rows: r.FileRows(), Guarded: r.GuardedCells, Rescued: r.RescuedValues}}
	if len(parts) == 0 || r.Whole != nil {
		return whole
	}
	pieces := make([]Piece, 0, len(parts)+len(known.Frames))
	var size int64
	var sum uint32
	add := func(p Piece) {
		p.Offset = size
		size += p.Size
		sum = crc32c.Combine(sum, p.CRC32C, p.Size)
		pieces = append(pieces, p)
	}
	frames := known.Frames
	addFrames := func() {
		for len(frames) > 0 && frames[0].Offset == size {
			add(Piece{Size: frames[0].Size, CRC32C: frames[0].CRC32C, SHA256: frames[0].SHA256})
			frames = frames[1:]
		}
	}
	for _, p := range parts {
		if p.Damage != "" || p.State != jobs.PartDone {
			return whole
		}
		addFrames()
		add(Piece{Size: p.Size, CRC32C: p.CRC32C, SHA256: p.Digest.Of(p.Object).SHA256, Rows: p.Rows, Guarded: p.Guarded, Rescued: p.Rescued})
	}
	addFrames()
	if len(frames) > 0 || size != r.Size || sum != r.CRC32C {
		return whole
	}
	return pieces
}
