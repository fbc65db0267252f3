package apikey

import (
	"context"
	"errors"
	"fmt"
	"time"

	"cloud.google.com/go/firestore"
	"github.com/maypok86/otter/v2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"exportd/jobs"
)

// Collection holds the records of keys.
const Collection = "ApiKeys"

const (
	// DefaultTTL is how long a record, or that there is none, is believed: a disabled key
	// goes on working that long.
	DefaultTTL = 10 * time.Second
	// maxCached bounds the cache, unknown ids included. Entries that are used keep their
	// place against a stream of new ids (W-TinyLFU), so made-up ids cannot push out real ones.
	maxCached = 10_000
	// lookupTimeout bounds one read of a record.
	lookupTimeout = 5 * time.Second
)

// StoreConfig is what a Store needs.
type StoreConfig struct {
	Client *firestore.Client
	// TTL is DefaultTTL if 0, and must be at most 30 s.
	TTL time.Duration
}

// Store reads keys from Firestore through a small cache. Safe for concurrent use.
type Store struct {
	client *firestore.Client
	cache  *otter.Cache[string, entry]
}

// entry is what is known about an id: a key, or why there is none.
type entry struct {
	key *Key
	err error
}

// NewStore makes a Store. Close ends its clean-up.
func NewStore(c StoreConfig) (*Store, error) {
	if c.TTL == 0 {
		c.TTL = DefaultTTL
	}
	if c.TTL < 0 || c.TTL > 30*time.Second {
		return nil, fmt.Errorf("key cache TTL of %s is not within 0 s and 30 s", c.TTL)
	}
	cache, err := otter.New(&otter.Options[string, entry]{
		MaximumSize:      maxCached,
		ExpiryCalculator: otter.ExpiryWriting[string, entry](c.TTL),
	})
	if err != nil {
		return nil, fmt.Errorf("make key cache: %w", err)
	}
	return &Store{client: c.Client, cache: cache}, nil
}

// Close ends the cache's goroutine.
func (s *Store) Close() { s.cache.StopAllGoroutines() }

// Forget drops what is known about a key, after its record was changed.
func (s *Store) Forget(id string) { s.cache.Invalidate(id) }

// Lookup is a LookupFunc. Simultaneous look-ups of one id share a read.
func (s *Store) Lookup(ctx context.Context, id string) (*Key, error) {
	if !ValidID(id) {
		return nil, jobs.ErrNotFound
	}
	e, err := s.cache.Get(ctx, id, otter.LoaderFunc[string, entry](s.load))
	if err != nil {
		return nil, err
	}
	return e.key, e.err
}

func (s *Store) load(ctx context.Context, id string) (entry, error) {
	// The read outlives its caller, because others may wait for the same one.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookupTimeout)
	defer cancel()
	doc, err := s.client.Collection(Collection).Doc(id).Get(ctx)
	switch status.Code(err) {
	case codes.OK:
	case codes.NotFound:
		return entry{err: jobs.ErrNotFound}, nil
	default: // not cached
		return entry{}, fmt.Errorf("read key: %w", errors.Join(jobs.ErrUnavailable, err))
	}
	key, err := decode(doc)
	return entry{key: key, err: err}, nil
}

// record is a key's document.
type record struct {
	OrgID              string    `firestore:"orgId"`
	Name               string    `firestore:"name"`
	Scopes             []string  `firestore:"scopes"`
	State              string    `firestore:"state"`
	ExpiresAt          time.Time `firestore:"expiresAt"`
	Secret             string    `firestore:"secret"`
	WebhookSecret      string    `firestore:"webhookSecret"`
	CallbackHosts      []string  `firestore:"callbackHosts"`
	DefaultCallbackURL string    `firestore:"defaultCallbackUrl"`
}

func decode(doc *firestore.DocumentSnapshot) (*Key, error) {
	var r record
	if err := doc.DataTo(&r); err != nil {
		// The cause is left out: it may quote a value.
		return nil, fmt.Errorf("key %s has a field of a wrong type: %w", doc.Ref.ID, jobs.ErrInvalid)
	}
	switch {
	case !validOrg(r.OrgID):
		return nil, fmt.Errorf("key %s has no usable orgId: %w", doc.Ref.ID, jobs.ErrInvalid)
	case r.Secret == "":
		return nil, fmt.Errorf("key %s has no secret: %w", doc.Ref.ID, jobs.ErrInvalid)
	}
	k := &Key{
		ID: doc.Ref.ID, OrgID: r.OrgID, Name: r.Name, State: State(r.State), ExpiresAt: r.ExpiresAt,
		Scopes:        defaultScopes,
		Secrets:       []SigningSecret{{Secret: NewSecret(r.Secret)}},
		WebhookSecret: NewSecret(r.WebhookSecret), CallbackHosts: r.CallbackHosts, DefaultCallbackURL: r.DefaultCallbackURL,
	}
	if _, ok := doc.Data()["scopes"]; ok {
		k.Scopes = make([]Scope, len(r.Scopes))
		for i, s := range r.Scopes {
			k.Scopes[i] = Scope(s)
		}
	}
	if k.State == "" {
		k.State = Active
	}
	return k, nil
}
