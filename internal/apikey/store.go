package apikey

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"cloud.google.com/go/firestore"
	"github.com/maypok86/otter/v2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"exportd/internal/panics"
	"exportd/internal/telemetry"
	"exportd/jobs"
)

// Collection holds the records of keys.
const Collection = "ApiKeys"

const (
	// DefaultTTL is how long a record, or that there is none, is believed: a disabled key that is not watched
	// goes on working that long.
	DefaultTTL = 10 * time.Second
	// maxCached bounds each of the two caches. Made-up ids are in the one of what was read alone, so that
	// they cannot push out keys that are in use.
	maxCached = 10_000
	// lookupTimeout bounds one read of a record.
	lookupTimeout = 5 * time.Second
)

// StoreConfig is what a Store needs.
type StoreConfig struct {
	Client *firestore.Client
	// Documents watches the keys in use while the Store runs, so that a change is seen at once; without it
	// changes are seen when the TTL ends.
	Documents Documents
	// TTL is DefaultTTL if 0, and must be at most 30 s.
	TTL time.Duration
	// Sealer opens sealed secrets, and seals those that it finds plain. Without one, plain secrets are used
	// as they are and sealed ones cannot be.
	Sealer *Sealer
	// RefusePlain takes keys whose secret is in clear for broken ones.
	RefusePlain bool
	// Damage is told of records that make no sense; nobody is if nil.
	Damage *telemetry.Damage
	// Panics is told of faults in Run; nobody is if nil.
	Panics *panics.Reporter
	// Now is time.Now if nil.
	Now func() time.Time
}

// Store reads keys from Firestore through small caches. Safe for concurrent use.
type Store struct {
	client *firestore.Client
	// cache is what was read, of unknown ids too; proved is that of keys which signed a request. A request
	// that is refused reads its key where that is not in cache, whatever is in proved.
	cache, proved *otter.Cache[string, entry]
	forgot        atomic.Pointer[time.Time] // when a key was last forgotten
	sealer        *Sealer
	now           func() time.Time
	sealed        sealedCheck
	decoy         decoy
	damage        *telemetry.Damage
	panics        *panics.Reporter
	// refusePlain is StoreConfig's.
	refusePlain bool
	used        chan string // ids of keys whose use is to be written down
	documents   Documents
	looked      chan string // ids of keys that were looked up, to be watched
	ttl         time.Duration
}

// entry is what is known about an id: a key, or why there is none.
type entry struct {
	key     *Key
	err     error
	version time.Time // when the record was last written; zero if there is none
	read    time.Time // when it was read
}

// NewStore makes a Store. Close ends its clean-up.
func NewStore(c StoreConfig) (*Store, error) {
	if c.TTL == 0 {
		c.TTL = DefaultTTL
	}
	if c.TTL < 0 || c.TTL > 30*time.Second {
		return nil, fmt.Errorf("key cache TTL of %s is not within 0 s and 30 s", c.TTL)
	}
	var caches [2]*otter.Cache[string, entry]
	for i := range caches {
		var err error
		if caches[i], err = otter.New(&otter.Options[string, entry]{
			MaximumSize: maxCached,
			// From when it was read: what goes from one cache to the other does not get older for it.
			ExpiryCalculator: otter.ExpiryWritingFunc(func(e otter.Entry[string, entry]) time.Duration {
				return max(1, c.TTL-time.Since(e.Value.read))
			}),
		}); err != nil {
			return nil, fmt.Errorf("make key cache: %w", err)
		}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Store{
		client: c.Client, cache: caches[0], proved: caches[1], sealer: c.Sealer, refusePlain: c.RefusePlain, damage: c.Damage, panics: c.Panics, used: make(chan string, usedQueue),
		documents: c.Documents, looked: make(chan string, lookedQueue), ttl: c.TTL,
		now: func() time.Time { return c.Now().UTC().Truncate(time.Microsecond) },
	}, nil
}

// Sealer is what seals the secrets; nil without a keyset.
func (s *Store) Sealer() *Sealer { return s.sealer }

// Close ends the caches' goroutines.
func (s *Store) Close() {
	s.cache.StopAllGoroutines()
	s.proved.StopAllGoroutines()
}

// Forget drops what is known about a key, after its record was changed.
func (s *Store) Forget(id string) {
	now := time.Now()
	s.forgot.Store(&now) // first, for Prove
	s.cache.Invalidate(id)
	s.proved.Invalidate(id)
}

// Known is of Proved.
func (s *Store) Known(id string) *Key {
	e, _ := s.proved.GetIfPresent(id)
	return e.key
}

// Prove is of Proved. The key is watched from now on.
func (s *Store) Prove(k *Key) {
	// What was read before any key was forgotten may be what was forgotten: it is not put back.
	forgot := s.forgot.Load()
	if e, ok := s.proved.GetEntryQuietly(k.ID); (!ok || e.Value.key != k) && (forgot == nil || k.read.After(*forgot)) {
		s.proved.Set(k.ID, entry{key: k, version: k.version, read: k.read})
		if s.forgot.Load() != forgot {
			s.proved.Invalidate(k.ID)
		}
	}
	if s.documents != nil {
		s.noteLooked(k.ID)
	}
}

// Lookup is a LookupFunc. Simultaneous look-ups of one id share a read.
func (s *Store) Lookup(ctx context.Context, id string) (*Key, error) {
	if !ValidID(id) {
		return nil, jobs.ErrNotFound
	}
	e, err := s.cache.Get(ctx, id, otter.LoaderFunc[string, entry](s.load))
	if err != nil {
		return nil, err
	}
	return s.told(e)
}

// told is what a caller gets. With the wrong keyset no key works, and none is at fault: every caller is told
// the same.
func (s *Store) told(e entry) (*Key, error) {
	if e.err != nil {
		if fault := s.sealed.fault.Load(); fault != nil {
			return nil, *fault
		}
	}
	return e.key, e.err
}

// Fresh reads a key past the cache, with one read of its document for each call. It is for what leaves in a
// key's name: a revocation, and a secret that was replaced at once, hold there from the moment they are
// written.
func (s *Store) Fresh(ctx context.Context, id string) (*Key, error) {
	if !ValidID(id) {
		return nil, jobs.ErrNotFound
	}
	e, err := s.load(ctx, id)
	if err != nil {
		return nil, err
	}
	return s.told(e)
}

func (s *Store) load(ctx context.Context, id string) (entry, error) {
	// The read outlives its caller, because others may wait for the same one.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookupTimeout)
	defer cancel()
	read := time.Now() // before: it is not younger than this
	doc, err := s.client.Collection(Collection).Doc(id).Get(ctx)
	switch status.Code(err) {
	case codes.OK:
	case codes.NotFound:
		s.decoy.decode(s.sealer)
		return entry{err: jobs.ErrNotFound, read: read}, nil
	default: // not cached
		return entry{}, fmt.Errorf("read key: %w", errors.Join(jobs.ErrUnavailable, err))
	}
	before := s.sealer.opened()
	key, err := decode(doc, s.sealer)
	if errors.Is(err, errSealed) {
		_ = s.checkSealed(ctx, true) // this record's fault, or that of all: Lookup asks
		switch now := s.sealer.opened(); {
		case now != before: // it has come meanwhile
			key, err = decode(doc, s.sealer)
		case s.sealer != nil && now == nil: // not cached
			return entry{}, ErrKeyset
		}
	}
	switch {
	case errors.Is(err, errSealed):
	case err != nil:
		s.damaged(doc, err)
	case err == nil && s.refusePlain && key.plain:
		return entry{err: fmt.Errorf("key %s has a secret in clear: %w", id, jobs.ErrInvalid), version: doc.UpdateTime, read: read}, nil
	case err == nil && s.sealer != nil && key.plain:
		s.sealPlain(ctx, doc)
	}
	if key != nil {
		s.decoy.note(doc)
		key.version, key.read = doc.UpdateTime, read
		key.believe(s.now())
	}
	return entry{key: key, err: err, version: doc.UpdateTime, read: read}, nil
}

// sealPlain seals what a record holds in clear, at its first use. When that does not work, or the record has
// changed meanwhile, the next look-up tries again: the key works either way.
func (s *Store) sealPlain(ctx context.Context, doc *firestore.DocumentSnapshot) {
	var r record
	if doc.DataTo(&r) != nil || !r.isPlain() || r.sealAll(doc.Ref.ID, s.sealer) != nil {
		return
	}
	_, _ = doc.Ref.Update(ctx, r.updates(), firestore.LastUpdateTime(doc.UpdateTime))
}
