package export

import (
	"bytes"

	"github.com/klauspost/compress/gzip"
)

// packer makes one member of a file of gzip. Members that lie end to end are such a file, so each part has
// one. It is for one goroutine.
type packer struct {
	out bytes.Buffer
	gz  *gzip.Writer
}

func newPacker() *packer {
	p := &packer{}
	p.gz = gzip.NewWriter(&p.out)
	return p
}

// pack takes bytes, the last of the member if it ends, and gives what they have become so far, valid until
// the next call.
func (p *packer) pack(b []byte, end bool) ([]byte, error) {
	p.out.Reset()
	if _, err := p.gz.Write(b); err != nil {
		return nil, err
	}
	if end {
		if err := p.gz.Close(); err != nil {
			return nil, err
		}
	}
	return p.out.Bytes(), nil
}
