package firestoreserver

import (
	"bytes"
	"sync"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"cloud.google.com/go/firestore/apiv1/firestorepb"

	"exportd/internal/localcloud/firestoreserver/fsquery"
	"exportd/internal/localcloud/firestoreserver/fsstore"
	"exportd/internal/localcloud/firestoreserver/fsvalue"
)

// framer puts a name before a stored body and a read time behind it, which makes a RunQueryResponse without
// decoding anything.
type framer struct {
	q        *fsquery.Query
	db       database
	prefix   []byte // of all names when they lie in one collection
	readTime []byte
	buf      []byte

	chunk mem.Buffer // holds the frames of many rows; nil before the first
	free  []byte     // its unused end
	slots []mem.Buffer
	out   frame
}

// chunkBytes is the memory that rows share. It stays in use until the transport has written the last row in
// it; a stream has 64 KiB under way at most.
const chunkBytes = 16 << 10

// chunkPool keeps chunks as they are. The transport's own pool fits rows badly and clears what it hands out,
// ten times the size of a row.
type chunkPool struct{ sync.Pool }

var chunks = &chunkPool{sync.Pool{New: func() any { b := make([]byte, chunkBytes); return &b }}}

// Get implements mem.BufferPool; length is always chunkBytes.
func (p *chunkPool) Get(int) *[]byte { return p.Pool.Get().(*[]byte) }

// Put implements mem.BufferPool.
func (p *chunkPool) Put(b *[]byte) { p.Pool.Put(b) }

const (
	responseDocument = 1
	responseReadTime = 3
	documentName     = 1
)

func newFramer(db database, q *fsquery.Query, at int64) *framer {
	f := &framer{q: q, db: db}
	if q.AllDescendants || q.CollectionID == "" {
		f.prefix = []byte(db.name.Root().String() + "/")
	} else {
		f.prefix = []byte(q.Parent.Child(q.CollectionID).String() + "/")
	}
	f.readTime = protowire.AppendTag(nil, responseReadTime, protowire.BytesType)
	f.readTime = fsstore.AppendTimestamp(f.readTime, at)
	return f
}

// frame returns the response for r, which must be sent before the next one is made.
func (f *framer) frame(r *row) (*frame, error) {
	name, err := f.name(r)
	if err != nil {
		return nil, err
	}
	body := r.body
	if f.q.Projection != nil || f.q.KeysOnly {
		if body, err = project(body, f.q); err != nil {
			return nil, err
		}
	}
	nameLen := len(f.prefix) + len(name)
	docLen := 1 + protowire.SizeVarint(uint64(nameLen)) + nameLen + len(body)
	size := 1 + protowire.SizeVarint(uint64(docLen)) + docLen + len(f.readTime)
	b := f.room(size)
	b = protowire.AppendTag(b, responseDocument, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(docLen))
	b = protowire.AppendTag(b, documentName, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(nameLen))
	b = append(b, f.prefix...)
	b = append(b, name...)
	b = append(b, body...)
	b = append(b, f.readTime...)
	f.keep(b)
	return &f.out, nil
}

// room returns size bytes to append to; keep must follow.
func (f *framer) room(size int) []byte {
	if size > chunkBytes/4 {
		return make([]byte, 0, size)
	}
	if len(f.free) < size {
		f.close()
		b := chunks.Get(chunkBytes)
		f.free = (*b)[:chunkBytes]
		f.chunk = mem.NewBuffer(b, chunks)
	}
	return f.free[:0:size]
}

// keep makes b, filled to the size asked for, the content of the next frame.
func (f *framer) keep(b []byte) {
	var data mem.Buffer = mem.SliceBuffer(b)
	if len(b) <= chunkBytes/4 {
		at := chunkBytes - len(f.free)
		data = f.chunk.Slice(at, at+len(b))
		f.free = f.free[len(b):]
	}
	if len(f.slots) == cap(f.slots) {
		f.slots = make([]mem.Buffer, 0, 64) // the transport holds on to earlier ones
	}
	f.slots = append(f.slots, data)
	n := len(f.slots)
	f.out.data = f.slots[n-1 : n : n]
}

// close lets go of the current chunk.
func (f *framer) close() {
	if f.chunk != nil {
		f.chunk.Free()
		f.chunk, f.free = nil, nil
	}
}

// name returns the part of the document's name behind the prefix.
func (f *framer) name(r *row) ([]byte, error) {
	if f.q.AllDescendants || f.q.CollectionID == "" {
		p := r.path
		if p.Len() == 0 {
			var err error
			if p, _, err = fsvalue.CutPath(f.db.name, r.name, fsvalue.Ascending); err != nil {
				return nil, err
			}
		}
		f.buf = append(f.buf[:0], p.Rel()...)
		return f.buf, nil
	}
	// An id without zero bytes is itself in a key, but for its two-byte end.
	if id := r.name[:len(r.name)-2]; bytes.IndexByte(id, 0) < 0 {
		return id, nil
	}
	id, _, err := fsvalue.CutString(r.name)
	f.buf = append(f.buf[:0], id...)
	return f.buf, err
}

// project re-encodes a body with the selected fields only.
func project(body []byte, q *fsquery.Query) ([]byte, error) {
	var m firestorepb.Document
	if err := proto.Unmarshal(body, &m); err != nil {
		return nil, err
	}
	if q.KeysOnly {
		m.Fields = nil
	} else {
		m.Fields = fsvalue.Project(m.Fields, q.Projection)
	}
	return proto.MarshalOptions{Deterministic: true}.Marshal(&m)
}
