package firestoreserver

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"strings"

	"google.golang.org/protobuf/types/known/wrapperspb"

	"cloud.google.com/go/firestore/apiv1/firestorepb"

	"exportd/internal/localcloud/firestoreserver/fsquery"
	"exportd/internal/localcloud/firestoreserver/fsstore"
	"exportd/internal/localcloud/firestoreserver/fsvalue"
)

const (
	defaultPage  = 100
	maxPage      = 300
	maxPageBytes = 4 << 20 // the default message limit of clients
)

// pageToken says where a listing goes on; For ties it to its request.
type pageToken struct {
	For    uint64 `json:"f"`
	After  string `json:"a,omitempty"`
	Offset int    `json:"o,omitempty"`
}

func (t pageToken) String() string {
	b, err := json.Marshal(t)
	if err != nil {
		return ""
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

// parseToken reads a token that must have been made for the same request.
func parseToken(s string, parts ...any) (pageToken, error) {
	h := fnv.New64a()
	_, _ = fmt.Fprintf(h, "%q", parts)
	want := pageToken{For: h.Sum64()}
	if s == "" {
		return want, nil
	}
	var t pageToken
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil || json.Unmarshal(b, &t) != nil || t.For != want.For {
		return t, invalid("Invalid page token.")
	}
	return t, nil
}

func pageSize(n int32) int {
	switch {
	case n <= 0:
		return defaultPage
	default:
		return min(int(n), maxPage)
	}
}

// ListDocuments implements the RPC.
func (s *Server) ListDocuments(ctx context.Context, req *firestorepb.ListDocumentsRequest) (_ *firestorepb.ListDocumentsResponse, err error) {
	parent, err := fsvalue.ParseParent(req.GetParent())
	if err != nil {
		return nil, err
	}
	if id := req.GetCollectionId(); id != "" {
		if err := fsvalue.CheckCollectionID(id); err != nil {
			return nil, err
		}
	}
	if req.GetShowMissing() && req.GetOrderBy() != "" {
		return nil, invalid("show_missing cannot be combined with order_by.")
	}
	mask, err := parseMask(req.GetMask())
	if err != nil {
		return nil, err
	}
	token, err := parseToken(req.GetPageToken(), req.GetParent(), req.GetCollectionId(), req.GetOrderBy(), req.GetShowMissing(), req.GetReadTime().String())
	if err != nil {
		return nil, err
	}
	db, err := s.databaseOf(parent.Database())
	if err != nil {
		return nil, err
	}
	r, err := s.open(ctx, consistency{db: db.id, transaction: req.GetTransaction(), readTime: req.GetReadTime()})
	if err != nil {
		return nil, err
	}
	defer r.close(&err)
	l := &lister{s: s, db: db, r: r, mask: mask, size: pageSize(req.GetPageSize()), token: token, missing: req.GetShowMissing()}
	if req.GetOrderBy() != "" || req.GetCollectionId() == "" {
		err = l.ordered(ctx, parent, req)
	} else {
		err = l.byName(parent.Child(req.GetCollectionId()))
	}
	return &l.resp, s.answer(err)
}

// lister fills one page.
type lister struct {
	s       *Server
	db      database
	r       *reading
	mask    *fieldMask
	size    int
	missing bool
	token   pageToken
	bytes   int
	resp    firestorepb.ListDocumentsResponse
}

// full reports whether the page ends here, after the document called last.
func (l *lister) full() bool { return len(l.resp.Documents) >= l.size || l.bytes >= maxPageBytes }

func (l *lister) add(d *fsstore.Document) error {
	l.r.txn.sawDocument(d.Path, d)
	m, err := message(d, l.mask)
	if err != nil {
		return err
	}
	if l.mask == nil {
		l.bytes += len(d.Body)
	}
	l.resp.Documents = append(l.resp.Documents, m)
	return nil
}

// byName walks the documents of a collection and, if asked, the names beneath which something lies although
// the document itself does not exist.
func (l *lister) byName(coll fsvalue.Path) (err error) {
	var parents *idWalk
	if l.missing {
		beneath := fsstore.DocumentsBeneath(nil, l.db.id, coll)
		direct := fsstore.DocumentPrefix(nil, l.db.id, coll)
		if parents, err = newIDWalk(l.r.view, l.db.id, beneath, fsvalue.PrefixEnd(direct)); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, parents.close()) }()
		parents.start(l.token.After)
	}
	prefix := fsstore.DocumentPrefix(nil, l.db.id, coll)
	c, err := l.r.view.Scan(fsstore.Range{DB: l.db.id, Group: coll.ID(), Lower: prefix, Upper: fsvalue.PrefixEnd(bytes.Clone(prefix))})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Err(), c.Close()) }()
	more := c.Seek(afterID(prefix, l.token.After))
	for more || parents.ok() {
		if l.full() {
			l.token.After = l.resp.Documents[len(l.resp.Documents)-1].Name[len(coll.String())+1:]
			l.resp.NextPageToken = l.token.String()
			return nil
		}
		var id string
		if more {
			if id, _, err = fsvalue.CutString(c.Key()[len(prefix):]); err != nil {
				return err
			}
		}
		if parents.ok() && (!more || parents.id < id) {
			l.resp.Documents = append(l.resp.Documents, &firestorepb.Document{Name: coll.Child(parents.id).String()})
			parents.next()
			continue
		}
		if parents.ok() && parents.id == id {
			parents.next()
		}
		v := c.Value()
		d := &fsstore.Document{Path: coll.Child(id), Update: fsstore.DocumentUpdate(v), Body: fsstore.DocumentBody(v)}
		if err := l.add(d); err != nil {
			return err
		}
		more = c.Next()
	}
	return nil
}

// afterID is the least key above that of the document id; "" stands before all.
func afterID(prefix []byte, id string) []byte {
	if id == "" {
		return prefix
	}
	return fsvalue.PrefixEnd(fsvalue.AppendString(bytes.Clone(prefix), id))
}

// ordered serves listings that are queries: with an order, or over all collections of the parent.
func (l *lister) ordered(ctx context.Context, parent fsvalue.Path, req *firestorepb.ListDocumentsRequest) (err error) {
	sq := &firestorepb.StructuredQuery{
		From:   []*firestorepb.StructuredQuery_CollectionSelector{{CollectionId: req.GetCollectionId()}},
		Offset: int32(l.token.Offset),
		Limit:  wrapperspb.Int32(int32(l.size + 1)),
	}
	for part := range strings.SplitSeq(req.GetOrderBy(), ",") {
		words := strings.Fields(part)
		if len(words) == 0 {
			continue
		}
		o := &firestorepb.StructuredQuery_Order{Field: &firestorepb.StructuredQuery_FieldReference{FieldPath: words[0]}}
		if len(words) > 1 && strings.EqualFold(words[1], "desc") {
			o.Direction = firestorepb.StructuredQuery_DESCENDING
		}
		sq.OrderBy = append(sq.OrderBy, o)
	}
	q, err := fsquery.Parse(parent, sq)
	if err != nil {
		return err
	}
	res, err := l.s.newRows(ctx, l.r.view, l.db, q, nil, false)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, res.close()) }()
	for {
		ok, err := res.next()
		if !ok || err != nil {
			return err
		}
		if l.full() {
			l.token.Offset += len(l.resp.Documents)
			l.resp.NextPageToken = l.token.String()
			return nil
		}
		p, err := res.pathOf()
		if err != nil {
			return err
		}
		d, err := l.r.view.Get(l.db.id, p)
		if err != nil {
			return err
		}
		if err := l.add(d); err != nil {
			return err
		}
	}
}

// ListCollectionIds implements the RPC.
func (s *Server) ListCollectionIds(ctx context.Context, req *firestorepb.ListCollectionIdsRequest) (_ *firestorepb.ListCollectionIdsResponse, err error) {
	parent, err := fsvalue.ParseParent(req.GetParent())
	if err != nil {
		return nil, err
	}
	token, err := parseToken(req.GetPageToken(), req.GetParent())
	if err != nil {
		return nil, err
	}
	db, err := s.databaseOf(parent.Database())
	if err != nil {
		return nil, err
	}
	r, err := s.open(ctx, consistency{readTime: req.GetReadTime()})
	if err != nil {
		return nil, err
	}
	defer r.close(&err)
	prefix := fsstore.DocumentsBeneath(nil, db.id, parent)
	w, err := newIDWalk(r.view, db.id, prefix, prefix)
	if err != nil {
		return nil, s.answer(err)
	}
	resp := &firestorepb.ListCollectionIdsResponse{}
	size := pageSize(req.GetPageSize())
	for w.start(token.After); w.ok(); w.next() {
		if len(resp.CollectionIds) == size {
			token.After = resp.CollectionIds[size-1]
			resp.NextPageToken = token.String()
			break
		}
		resp.CollectionIds = append(resp.CollectionIds, w.id)
	}
	return resp, s.answer(w.close())
}

// idWalk yields the distinct ids that follow a key prefix, jumping over all that lies beneath each.
type idWalk struct {
	cursor *fsstore.Cursor
	prefix []byte
	id     string
	valid  bool
	err    error
}

func newIDWalk(v *fsstore.View, db uint32, prefix, lower []byte) (*idWalk, error) {
	c, err := v.Scan(fsstore.Range{DB: db, Lower: lower, Upper: fsvalue.PrefixEnd(bytes.Clone(prefix))})
	if err != nil {
		return nil, err
	}
	return &idWalk{cursor: c, prefix: prefix}, nil
}

// start moves to the first id above after.
func (w *idWalk) start(after string) {
	if after == "" {
		w.set(w.cursor.Next())
		return
	}
	w.id = after
	w.next()
}

func (w *idWalk) next() { w.set(w.cursor.Seek(afterID(w.prefix, w.id))) }

func (w *idWalk) set(ok bool) {
	if w.valid = ok; ok {
		w.id, _, w.err = fsvalue.CutString(w.cursor.Key()[len(w.prefix):])
		w.valid = w.err == nil
	}
}

func (w *idWalk) ok() bool { return w != nil && w.valid }

func (w *idWalk) close() error { return errors.Join(w.err, w.cursor.Err(), w.cursor.Close()) }
