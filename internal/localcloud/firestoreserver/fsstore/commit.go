package fsstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	firestorepb "cloud.google.com/go/firestore/apiv1/firestorepb"

	"exportd/internal/localcloud/firestoreserver/fsvalue"
)

const (
	// maxQueue is the number of commits that may wait for the sequencer; more wait in their own goroutine,
	// which their callers' deadlines bound.
	maxQueue = 256
	// maxGroupBytes ends a group. With one more commit of the usual size it stays below half a memtable: the
	// engine flushes larger batches, and the memtable before them, as small tables of their own, which then
	// cost compactions.
	maxGroupBytes = 1 << 20
	// usualBody fits the encoded form of most documents with their times.
	usualBody = 512
)

// Commit is one atomic change. Run is called by the sequencer, once, with the commit's instant fixed; an
// error from it means that nothing is written.
type Commit struct {
	DB uint32
	// Docs are the documents that Run will look at or change.
	Docs []fsvalue.Path
	// Alone asks that all earlier commits are applied before Run, which is necessary when it reads anything
	// but Docs.
	Alone bool
	Run   func(*Applier) error

	done    chan struct{}
	applier *Applier
	err     error
}

// Change is what one commit did, in the order of the documents' first writes.
type Change struct {
	DB      uint32
	Instant int64
	Docs    []DocChange
}

// Bytes returns the size of the documents that the change holds on to.
func (c *Change) Bytes() int {
	n := 0
	for i := range c.Docs {
		for _, d := range []*Document{c.Docs[i].Old, c.Docs[i].New} {
			if d != nil {
				n += len(d.Body)
			}
		}
	}
	return n
}

// DocChange is the change of one document by one commit.
type DocChange struct {
	Path fsvalue.Path
	Old  *Document // nil when it did not exist
	New  *Document // nil when it does not exist any more
}

// Apply hands c to the sequencer and waits until it is durable and visible. It returns the commit's instant.
// When ctx ends first the commit may or may not have happened, as with any lost answer.
func (s *Store) Apply(ctx context.Context, c *Commit) (int64, error) {
	c.done = make(chan struct{})
	select {
	case s.queue <- c:
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-s.quit:
		return 0, ErrClosed
	}
	select {
	case <-c.done:
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-s.sequenced:
		select {
		case <-c.done:
		default:
			return 0, ErrClosed // queued after the last group
		}
	}
	if c.err != nil {
		return 0, c.err
	}
	return c.applier.at, nil
}

// sequence is the only goroutine that changes data. It gathers the commits that arrive while a group is being
// synced into the next group: one engine batch, one sync.
func (s *Store) sequence() {
	defer s.done.Done()
	defer close(s.sequenced)
	for {
		select {
		case c := <-s.queue:
			s.group(c)
		case <-s.quit:
			for {
				select {
				case c := <-s.queue:
					c.err = ErrClosed
					close(c.done)
				default:
					return
				}
			}
		}
	}
}

// group applies first and whatever else waits and touches other documents. The one that does not fit begins
// the next group.
func (s *Store) group(first *Commit) {
	for first != nil {
		g := &group{s: s, batch: s.db.NewBatch(), dirty: map[docID]bool{}}
		g.add(first)
		first = nil
		for first == nil && len(g.batch.Repr()) < maxGroupBytes {
			select {
			case c := <-s.queue:
				if g.conflicts(c) {
					first = c
				} else {
					g.add(c)
				}
				continue
			default:
			}
			break
		}
		g.finish()
	}
}

type docID struct {
	db   uint32
	path fsvalue.Path
}

type group struct {
	s       *Store
	batch   *pebble.Batch
	commits []*Commit
	changes []*Change
	dirty   map[docID]bool   // documents that the batch changes
	failed  error            // why the batch must not be written
	iter    *pebble.Iterator // state before the group; nil until needed
}

// lookup returns a copy of the value that key had before the group, nil when it had none. One iterator for
// all lookups, asking the filters of every level: in a bulk load nearly all documents are new.
func (g *group) lookup(key []byte) ([]byte, error) {
	if g.iter == nil {
		it, err := g.s.db.NewIter(&pebble.IterOptions{
			LowerBound: []byte{spaceDocument}, UpperBound: []byte{spaceDocument + 1}, UseL6Filters: true,
		})
		if err != nil {
			return nil, err
		}
		g.iter = it
	}
	if !g.iter.SeekPrefixGE(key) || !bytes.Equal(g.iter.Key(), key) {
		return nil, g.iter.Error()
	}
	return bytes.Clone(g.iter.Value()), nil
}

func (g *group) conflicts(c *Commit) bool {
	if c.Alone {
		return len(g.dirty) > 0
	}
	for _, p := range c.Docs {
		if g.dirty[docID{c.DB, p}] {
			return true
		}
	}
	return false
}

func (g *group) add(c *Commit) {
	g.commits = append(g.commits, c)
	at, err := g.s.clock.commit()
	if err != nil {
		c.err = err
		return
	}
	c.applier = &Applier{s: g.s, g: g, db: c.DB, at: at, docs: make(map[fsvalue.Path]*docState, len(c.Docs))}
	if c.err = c.Run(c.applier); c.err != nil {
		return
	}
	change, err := g.write(c.applier)
	if err != nil {
		// Part of the commit may be in the batch, so none of it may be written.
		g.failed, c.err = err, err
		return
	}
	if len(change.Docs) > 0 {
		g.changes = append(g.changes, change)
	}
}

// finish makes the group durable, then visible, then known.
func (g *group) finish() {
	err := g.sync()
	if g.iter != nil {
		err = errors.Join(err, g.iter.Close())
	}
	if err != nil {
		// What the disk holds now is unknown; only a restart, which replays the log, can tell. So no instant
		// is given out from here on.
		g.s.clock.fail(err)
		g.s.log.Error("commit", "error", err)
	} else {
		if g.s.published != nil && len(g.changes) > 0 {
			g.s.published(g.changes)
		}
		g.s.clock.publish()
	}
	for _, c := range g.commits {
		if err != nil && c.err == nil {
			c.err = err
		}
		close(c.done)
	}
}

func (g *group) sync() error {
	if g.failed != nil || g.batch.Empty() {
		return errors.Join(g.failed, g.batch.Close())
	}
	if err := g.batch.Commit(pebble.Sync); err != nil {
		return fmt.Errorf("sync commit group: %w", err)
	}
	return g.batch.Close()
}

// Applier is a commit's view of the documents it changes: the state before the commit with the commit's own
// earlier writes on top.
type Applier struct {
	s     *Store
	g     *group
	db    uint32
	at    int64
	docs  map[fsvalue.Path]*docState
	order []*docState
}

type docState struct {
	path    fsvalue.Path
	key     []byte
	old     *Document // before the commit
	current *State
	forced  bool // counts as changed even when equal
}

// State is the state of one document within a commit. A nil State means that the document does not exist.
type State struct {
	// Fields as messages; nil when only Prepared is known.
	Fields map[string]*fsvalue.Value
	// Prepared is the same in stored form, made before the commit was queued.
	Prepared *Prepared
	Create   int64
	Update   int64

	stored []byte // body in the store, for states not changed by the commit
}

// Prepared is a document's new content in stored form, made outside of the sequencer because that is most of
// a commit's work.
type Prepared struct {
	wire    []byte
	entries []entry
}

// Prepare encodes a document's content and derives its index entries.
func (s *Store) Prepare(db uint32, p fsvalue.Path, fields map[string]*fsvalue.Value) (*Prepared, error) {
	wire, err := fsvalue.AppendFields(make([]byte, 0, usualBody), fields)
	if err != nil {
		return nil, err
	}
	entries, err := s.catalog.entries(db, p, fields)
	if err != nil {
		return nil, err
	}
	return &Prepared{wire: wire, entries: entries}, nil
}

// Size returns the bytes of the encoded fields.
func (p *Prepared) Size() int { return len(p.wire) }

// Database returns the id of the commit's database.
func (a *Applier) Database() uint32 { return a.db }

// Instant returns the commit's instant.
func (a *Applier) Instant() int64 { return a.at }

// Get returns the current state of a document, nil when it does not exist. The caller must not change it; see
// Content.
func (a *Applier) Get(p fsvalue.Path) (*State, error) {
	d, err := a.load(p)
	if err != nil {
		return nil, err
	}
	return d.current, nil
}

// Content returns the fields of st as messages of the caller's own.
func (st *State) Content() (map[string]*fsvalue.Value, error) {
	var doc firestorepb.Document
	wire := st.stored
	switch {
	case st.Prepared != nil:
		wire = st.Prepared.wire
	case wire == nil:
		return proto.CloneOf(&firestorepb.Document{Fields: st.Fields}).GetFields(), nil
	}
	if err := proto.Unmarshal(wire, &doc); err != nil {
		return nil, fmt.Errorf("decode stored document: %w", err)
	}
	return doc.Fields, nil
}

func (a *Applier) load(p fsvalue.Path) (*docState, error) {
	if d := a.docs[p]; d != nil {
		return d, nil
	}
	d := &docState{path: p, key: DocumentKey(nil, a.db, p)}
	val, err := a.g.lookup(d.key)
	if err != nil {
		return nil, fmt.Errorf("read document: %w", err)
	}
	if val != nil {
		d.old = decodeDocument(p, val)
		d.current = &State{Create: d.old.Create, Update: d.old.Update, stored: d.old.Body}
	}
	a.docs[p] = d
	a.order = append(a.order, d)
	return d, nil
}

// Put replaces a document's content. forced makes it a change even when the content is the same as before. It
// returns the update instant that results.
func (a *Applier) Put(p fsvalue.Path, next *State, forced bool) (int64, error) {
	d, err := a.load(p)
	if err != nil {
		return 0, err
	}
	if next.Prepared == nil {
		if next.Prepared, err = a.s.Prepare(a.db, p, next.Fields); err != nil {
			return 0, err
		}
	}
	next.Create, next.Update = a.at, a.at
	if d.current != nil {
		next.Create = d.current.Create
		same := bytes.Equal(d.current.wire(), next.Prepared.wire)
		if same && !forced {
			return d.current.Update, nil
		}
	}
	d.current = next
	d.forced = d.forced || forced
	return a.at, nil
}

// Delete removes a document if it exists.
func (a *Applier) Delete(p fsvalue.Path) error {
	d, err := a.load(p)
	if err != nil {
		return err
	}
	d.current = nil
	return nil
}

// wire returns the encoded fields without the timestamps behind them.
func (st *State) wire() []byte {
	if st.Prepared != nil {
		return st.Prepared.wire
	}
	return fieldsOf(st.stored, st.Create, st.Update)
}

func fieldsOf(body []byte, create, update int64) []byte {
	return body[:len(body)-len(appendTimes(nil, create, update))]
}

// appendTimes appends create_time and update_time as they follow the fields.
func appendTimes(dst []byte, create, update int64) []byte {
	dst = appendTime(dst, 3, create)
	return appendTime(dst, 4, update)
}

func appendTime(dst []byte, field protowire.Number, t int64) []byte {
	dst = protowire.AppendTag(dst, field, protowire.BytesType)
	return AppendTimestamp(dst, t)
}

// AppendTimestamp appends the length-prefixed wire form of a Timestamp.
func AppendTimestamp(dst []byte, t int64) []byte {
	sec, nsec := t/1e6, t%1e6*1000
	if nsec < 0 {
		sec, nsec = sec-1, nsec+1e9
	}
	var n int
	if sec != 0 {
		n += 1 + protowire.SizeVarint(uint64(sec))
	}
	if nsec != 0 {
		n += 1 + protowire.SizeVarint(uint64(nsec))
	}
	dst = protowire.AppendVarint(dst, uint64(n))
	if sec != 0 {
		dst = protowire.AppendVarint(append(dst, 1<<3), uint64(sec))
	}
	if nsec != 0 {
		dst = protowire.AppendVarint(append(dst, 2<<3), uint64(nsec))
	}
	return dst
}

var errCorrupt = errors.New("index entry is missing")
