package firestoreserver

import (
	"context"
	"crypto/rand"
	"errors"
	"regexp"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/emptypb"

	"cloud.google.com/go/firestore/apiv1/firestorepb"

	"exportd/internal/localcloud/firestoreserver/fsstore"
	"exportd/internal/localcloud/firestoreserver/fsvalue"
)

const (
	transactionLife = 270 * time.Second // production's bound from begin to commit
	transactionIdle = 60 * time.Second  // and between two requests
	// rememberFor is how long the answer of a commit is kept for a client that lost it and asks again.
	rememberFor = 5 * time.Minute
	// maxRemembered bounds the kept answers, any of which goes beyond that, and maxRememberedWrites the size
	// of each: larger ones are not kept.
	maxRemembered       = 5_000
	maxRememberedWrites = 32
)

// transaction is optimistic: it reads one snapshot and notes what it saw; its commit goes through only if
// none of that changed since.
type transaction struct {
	id       []byte
	db       uint32
	readOnly bool
	retry    bool // an earlier attempt lost
	began    time.Time

	mu      sync.Mutex
	used    time.Time
	at      int64 // instant of its snapshot; 0 until the first read
	docs    map[fsvalue.Path]int64
	queries []queryRead

	reserved []documentKey
}

// queryRead is a query that a transaction ran and a digest of what it returned.
type queryRead struct {
	db     database
	group  string // collection group looked at; "" for all
	digest uint64
	again  func(*fsstore.View) (uint64, error)
}

// transactions are all that are under way, and the answers of ended ones.
type transactions struct {
	now func() time.Time

	mu    sync.Mutex
	live  map[string]*transaction
	ended map[string]endedTransaction
	swept time.Time
}

type endedTransaction struct {
	at      time.Time
	db      uint32
	expired bool
	resp    *firestorepb.CommitResponse // nil when it did not commit
}

func newTransactions(now func() time.Time) *transactions {
	return &transactions{now: now, live: map[string]*transaction{}, ended: map[string]endedTransaction{}, swept: now()}
}

// BeginTransaction implements the RPC.
func (s *Server) BeginTransaction(ctx context.Context, req *firestorepb.BeginTransactionRequest) (*firestorepb.BeginTransactionResponse, error) {
	db, err := s.database(req.GetDatabase())
	if err != nil {
		return nil, err
	}
	t, err := s.begin(req.GetOptions(), db.id)
	if err != nil {
		return nil, err
	}
	return &firestorepb.BeginTransactionResponse{Transaction: t.id}, nil
}

// Rollback implements the RPC. What a rollback or a commit has ended it lets pass, as Google's emulator does:
// clients send it again, and after a commit that failed, whose error some would replace by this one's.
func (s *Server) Rollback(ctx context.Context, req *firestorepb.RollbackRequest) (*emptypb.Empty, error) {
	db, err := s.database(req.GetDatabase())
	if err != nil {
		return nil, err
	}
	t, err := s.txns.rollback(req.GetTransaction(), db.id)
	if err != nil {
		return nil, err
	}
	if t != nil {
		s.turns.release(t)
	}
	return &emptypb.Empty{}, nil
}

// transactionID is the form of what rand.Text returns.
var transactionID = regexp.MustCompile(`^[A-Z2-7]{26}$`)

func (s *Server) begin(o *firestorepb.TransactionOptions, db uint32) (*transaction, error) {
	// The one that lost may be forgotten by now, but no client has an id that this server cannot have made.
	lost := o.GetReadWrite().GetRetryTransaction()
	if len(lost) > 0 && !transactionID.Match(lost) {
		return nil, errBadTxn
	}
	t := &transaction{id: []byte(rand.Text()), db: db, docs: map[fsvalue.Path]int64{}, retry: len(lost) > 0}
	if ro := o.GetReadOnly(); ro != nil {
		t.readOnly = true
		if rt := ro.GetReadTime(); rt != nil {
			t.at = micros(rt)
		} else {
			now, err := s.store.Now()
			if err != nil {
				return nil, s.answer(err)
			}
			t.at = now
		}
	}
	s.txns.add(t)
	return t, nil
}

// transactionView opens the snapshot that all reads of t share.
func (s *Server) transactionView(t *transaction) (*fsstore.View, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.at != 0 {
		return s.store.At(t.at)
	}
	v, err := s.store.Strong()
	if err == nil {
		t.at = v.Instant()
	}
	return v, err
}

// sawDocument notes a read; it does nothing without a read-write transaction.
func (t *transaction) sawDocument(p fsvalue.Path, d *fsstore.Document) {
	if t == nil || t.readOnly {
		return
	}
	var update int64
	if d != nil {
		update = d.Update
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.docs[p] = update
}

func (t *transaction) sawQuery(q queryRead) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.queries = append(t.queries, q)
}

// names appends the documents that t read.
func (t *transaction) names(list []fsvalue.Path) []fsvalue.Path {
	t.mu.Lock()
	defer t.mu.Unlock()
	for p := range t.docs {
		list = append(list, p)
	}
	return list
}

func (t *transaction) hasQueries() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.queries) > 0
}

// validate fails with ABORTED when anything that t read has changed. The sequencer calls it, so nothing
// changes between this and the commit.
func (s *Server) validate(t *transaction, a *fsstore.Applier) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for p, saw := range t.docs {
		st, err := a.Get(p)
		if err != nil {
			return err
		}
		var update int64
		if st != nil {
			update = st.Update
		}
		if update != saw {
			s.turns.met(documentKey{a.Database(), p})
			return errContention
		}
	}
	for _, q := range t.queries {
		if q.group != "" && s.store.Touched(q.db.id, q.group) <= t.at {
			continue
		}
		v := a.View()
		digest, err := q.again(v)
		if err = errors.Join(err, v.Close()); err != nil {
			return err
		}
		if digest != q.digest {
			return errContention
		}
	}
	return nil
}

func (ts *transactions) add(t *transaction) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	t.began = ts.now()
	t.used = t.began
	ts.sweep()
	ts.live[string(t.id)] = t
}

// sweep forgets what expired. It runs on the calls that add, at most once a second, so that it needs no
// goroutine.
func (ts *transactions) sweep() {
	now := ts.now()
	if now.Sub(ts.swept) < time.Second && len(ts.ended) < maxRemembered {
		return
	}
	ts.swept = now
	for _, t := range ts.live {
		if t.expired(now) {
			ts.end(t, true)
		}
	}
	for id, e := range ts.ended {
		if now.Sub(e.at) > rememberFor || len(ts.ended) > maxRemembered {
			delete(ts.ended, id)
		}
	}
}

func (t *transaction) expired(now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return now.Sub(t.began) > transactionLife || now.Sub(t.used) > transactionIdle
}

// use returns a live transaction for a request in a database.
func (ts *transactions) use(id []byte, db uint32) (*transaction, error) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	t, err := ts.find(id, db)
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	t.used = ts.now()
	t.mu.Unlock()
	return t, nil
}

// find returns a live transaction of a database. It needs ts.mu.
func (ts *transactions) find(id []byte, db uint32) (*transaction, error) {
	t := ts.live[string(id)]
	if t == nil {
		if e, ok := ts.ended[string(id)]; ok && e.db == db {
			return nil, errExpiredTxn
		}
		return nil, errBadTxn
	}
	if t.db != db {
		return nil, errBadTxn
	}
	if t.expired(ts.now()) {
		ts.end(t, true)
		return nil, errExpiredTxn
	}
	return t, nil
}

// end takes a transaction out of the live ones. It needs ts.mu.
func (ts *transactions) end(t *transaction, expired bool) {
	delete(ts.live, string(t.id))
	ts.ended[string(t.id)] = endedTransaction{at: ts.now(), db: t.db, expired: expired}
}

// finish takes the transaction out of the live ones for its commit, or returns the answer of its earlier
// commit.
func (ts *transactions) finish(id []byte, db uint32) (*transaction, *firestorepb.CommitResponse, error) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if e := ts.ended[string(id)]; e.resp != nil && e.db == db {
		return nil, e.resp, nil
	}
	t, err := ts.find(id, db)
	if err != nil {
		return nil, nil, err
	}
	ts.end(t, false)
	return t, nil, nil
}

// remember keeps the answer of the commit.
func (ts *transactions) remember(t *transaction, resp *firestorepb.CommitResponse) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if len(resp.GetWriteResults()) <= maxRememberedWrites {
		ts.ended[string(t.id)] = endedTransaction{at: ts.now(), db: t.db, resp: resp}
	}
}

// rollback ends a live transaction and returns it; nil when it has ended, unless by time.
func (ts *transactions) rollback(id []byte, db uint32) (*transaction, error) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if e, ok := ts.ended[string(id)]; ok && !e.expired && e.db == db {
		return nil, nil
	}
	t, err := ts.find(id, db)
	if err != nil {
		return nil, err
	}
	ts.end(t, false)
	return t, nil
}
