package apikey

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/api/iterator"

	"exportd/jobs"
)

const (
	// sealedSample is how many records are tried: with the wrong keyset none of them opens, and a few that
	// another keyset sealed, as after a restore, do not pass for that.
	sealedSample = 20
	// sealedAgain is how long a result is believed: readiness asks every few seconds.
	sealedAgain = 15 * time.Second
	// sealedGood is that of a keyset that has opened a record, or found none to open: a process keeps its
	// keyset, and each look reads sealedSample records. A record that does not open has it looked at again
	// before.
	sealedGood = time.Hour
)

// ErrKeyset means that there are sealed secrets and the keyset opens none, or cannot be opened itself. It is
// a jobs.ErrUnavailable: the service is set up wrong, no caller is.
var ErrKeyset = jobs.Unavailable("the keyset opens none of the sealed secrets of API keys")

// sealedCheck remembers whether the keyset is the one that sealed the records.
type sealedCheck struct {
	fault atomic.Pointer[error] // what callers are told meanwhile; nil if the keyset is right

	mu  sync.Mutex
	at  time.Time // zero for never
	err error     // nil if the keyset has opened a record, or there was none to open
}

// CheckSealed opens sealed secrets of stored keys: ErrKeyset if there are some and none opens, or while the
// keyset itself cannot be opened, which it tries each time.
func (s *Store) CheckSealed(ctx context.Context) error { return s.checkSealed(ctx, false) }

// checkSealed is CheckSealed; doubt is that a record does not open.
func (s *Store) checkSealed(ctx context.Context, doubt bool) error {
	s.sealed.mu.Lock()
	defer s.sealed.mu.Unlock()
	believed := sealedAgain
	if s.sealed.err == nil && !doubt {
		believed = sealedGood
	}
	if now := s.now(); !s.sealed.at.IsZero() && now.Sub(s.sealed.at) < believed {
		return s.sealed.err
	}
	if err := s.sealer.await(ctx); err != nil {
		return s.sealed.found(fmt.Errorf("%w: %w", ErrKeyset, err), s.now())
	}
	n, err := s.CountSealed(ctx, sealedSample)
	if err != nil {
		return err // asked again next time
	}
	if n.Sealed > 0 && n.Opened == 0 {
		return s.sealed.found(ErrKeyset, s.now())
	}
	return s.sealed.found(nil, s.now())
}

// found notes what a look has found, and returns it. Its caller holds mu.
func (c *sealedCheck) found(err error, at time.Time) error {
	c.err, c.at = err, at
	if err == nil {
		c.fault.Store(nil)
	} else {
		c.fault.Store(&err)
	}
	return err
}

// Sealed counts records: those with a sealed secret, those of them that this keyset sealed, and those with a
// secret in clear.
type Sealed struct{ Records, Sealed, Opened, Plain int }

// CountSealed looks at no more than limit records.
func (s *Store) CountSealed(ctx context.Context, limit int) (n Sealed, err error) {
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	it := s.client.Collection(Collection).Limit(limit).Documents(ctx) // one in memory at a time, as in List
	defer it.Stop()
	for {
		doc, err := it.Next()
		if err == iterator.Done {
			return n, nil
		}
		if err != nil {
			return n, fmt.Errorf("read keys: %w", classify(err))
		}
		n.Records++
		var r record
		if doc.DataTo(&r) != nil || r.check(doc.Ref.ID) != nil {
			continue // decode says what is wrong with it, to whoever needs it
		}
		if r.isPlain() {
			n.Plain++
		}
		if !r.isSealed() {
			continue
		}
		n.Sealed++
		if _, err := decode(doc, s.sealer); !errors.Is(err, errSealed) {
			n.Opened++
		}
	}
}

// isSealed reports whether something in the record is sealed.
func (r record) isSealed() bool {
	for _, list := range [][]sealedSecret{r.Secrets, r.WebhookSecrets} {
		for _, s := range list {
			if len(s.Sealed) > 0 {
				return true
			}
		}
	}
	return len(r.WebhookSealed) > 0
}
