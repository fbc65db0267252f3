package export

import (
	"bytes"
	"hash/crc32"
	"io"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/gzip"

	"exportd/jobs"
)

// packer compresses one part. It is for one goroutine.
type packer struct {
	out   bytes.Buffer
	w     io.Writer
	end   func() error
	plain *jobs.Plain // what it was given, where a zip has to say it
}

// newPacker gives what compresses a part of the form; nil where parts are not compressed. Those of gzip are
// members, which are such a file when they lie end to end. Those of sheets are deflated up to where a byte
// ends, without a last block, so that they are one stream when they lie end to end.
func (f form) newPacker() *packer {
	p := &packer{}
	switch {
	case f.gzip:
		gz := gzip.NewWriter(&p.out)
		p.w, p.end = gz, gz.Close
	case f.sheets:
		w, _ := flate.NewWriter(&p.out, flate.DefaultCompression) // no error at this level
		p.w, p.end, p.plain = w, w.Flush, &jobs.Plain{}
	default:
		return nil
	}
	return p
}

// pack takes bytes, the last of the part if it ends, and gives what they have become so far, valid until the
// next call.
func (p *packer) pack(b []byte, end bool) ([]byte, error) {
	p.out.Reset()
	if _, err := p.w.Write(b); err != nil {
		return nil, err
	}
	if p.plain != nil {
		p.plain.Size += int64(len(b))
		p.plain.CRC32 = crc32.Update(p.plain.CRC32, crc32.IEEETable, b)
	}
	if end {
		if err := p.end(); err != nil {
			return nil, err
		}
	}
	return p.out.Bytes(), nil
}
