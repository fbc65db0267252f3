package jobs

import "strings"

// Digest is what is known of an object by SHA-256, in hexadecimal digits. It names the object: a build that
// does not know it may write another and leave this as it was.
type Digest struct {
	Object string `firestore:"object"`
	// SHA256 is of all of it; "" where it was composed, as then only those of its pieces are known.
	SHA256 string `firestore:"sha256,omitempty"`
	// Frames are the pieces of a composed file that are no parts, in their order.
	Frames []Frame `firestore:"frames,omitempty"`
}

// Frame is a piece of a file between its parts or behind them, which has no rows.
type Frame struct {
	Offset int64  `firestore:"offset"`
	Size   int64  `firestore:"size"`
	CRC32C uint32 `firestore:"crc32c"`
	SHA256 string `firestore:"sha256"`
}

// Of is what is known of an object: nothing, where this is of another.
func (d *Digest) Of(object string) Digest {
	if d == nil || d.Object != object {
		return Digest{}
	}
	return *d
}

func (d *Digest) check(c *checks, name string) {
	if d == nil {
		return
	}
	c.text(name+".object", d.Object, maxText)
	c.that(d.SHA256 == "" || validSHA256(d.SHA256), "%s.sha256 is none", name)
	c.that(len(d.Frames) <= MaxParts+1, "%s.frames are %d", name, len(d.Frames)) // of a zip, with a part in each sheet
	for _, f := range d.Frames {
		c.count(name+".frames.offset", f.Offset)
		c.count(name+".frames.size", f.Size)
		c.that(validSHA256(f.SHA256), "one of %s.frames has no sha256", name)
	}
}

func validSHA256(s string) bool {
	return len(s) == 64 && strings.Trim(s, "0123456789abcdef") == ""
}
