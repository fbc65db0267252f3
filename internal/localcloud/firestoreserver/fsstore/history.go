package fsstore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// bucketsPerRetention sets how coarsely history is dropped: whole buckets go by one range deletion, so up to
// one bucket more than the retention is kept.
const bucketsPerRetention = 6

// loadBuckets finds the history buckets by jumping from one to the next.
func (s *Store) loadBuckets() error {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: []byte{spaceHistory}, UpperBound: []byte{spaceHistory + 1}})
	if err != nil {
		return fmt.Errorf("list history: %w", err)
	}
	for ok := it.First(); ok; {
		if len(it.Key()) < historyKeyPrefix {
			return errors.Join(fmt.Errorf("list history: %w", errCorrupt), it.Close())
		}
		b := int64(binary.BigEndian.Uint64(it.Key()[1:historyKeyPrefix]))
		s.buckets = append(s.buckets, b)
		ok = it.SeekGE(historyPrefix(nil, b+1))
	}
	return it.Close()
}

// bucketFor returns the bucket for versions that end at c, opening one as time goes on. Only the sequencer
// calls it.
func (s *Store) bucketFor(c int64) int64 {
	width := max(s.retention/bucketsPerRetention, time.Millisecond.Microseconds())
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.buckets); n > 0 && c-s.buckets[n-1] < width {
		return s.buckets[n-1]
	}
	s.buckets = append(s.buckets, c)
	select {
	case s.aged <- struct{}{}: // what was the newest bucket grows no more, and the oldest may have to go
	default:
	}
	return c
}

// bucketsAfter returns the buckets that may hold versions ending after t.
func (s *Store) bucketsAfter(t int64) []int64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	i := len(s.buckets)
	for i > 0 {
		i--
		if s.buckets[i] <= t {
			break
		}
	}
	return slices.Clone(s.buckets[i:])
}

// sweep drops history buckets that lie wholly before the retention period: when a bucket begins, so that a
// clock that runs fast finds as little as one that stands still, and now and then, for when nothing is
// written any more.
func (s *Store) sweep(ctx context.Context, swept chan<- struct{}) {
	defer s.done.Done()
	every := max(time.Duration(s.retention/bucketsPerRetention)*time.Microsecond, 100*time.Millisecond)
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.aged:
		case <-tick.C:
		}
		if err := s.dropHistory(ctx); err != nil && ctx.Err() == nil {
			s.log.Error("drop old versions", "error", err)
		}
		if swept != nil {
			select {
			case swept <- struct{}{}:
			case <-ctx.Done():
				return
			}
		}
	}
}

func (s *Store) dropHistory(ctx context.Context) error {
	// One bucket of slack: a request admitted just inside the period may still be opening its snapshot.
	horizon := s.clock.now().UnixMicro() - s.retention - s.retention/bucketsPerRetention
	s.mu.Lock()
	n := 0
	for n+1 < len(s.buckets) && s.buckets[n+1] <= horizon {
		n++
	}
	var first, bound int64
	if n > 0 {
		first, bound = s.buckets[0], s.buckets[n]
		s.buckets = slices.Delete(s.buckets, 0, n)
	}
	s.mu.Unlock()
	if n == 0 {
		return nil
	}
	if err := s.db.DeleteRange([]byte{spaceHistory}, historyPrefix(nil, bound), pebble.NoSync); err != nil {
		return err
	}
	// A range deletion takes room until a compaction meets it, which in a folder that fits into a few tables
	// may be never. The dropped buckets lie side by side, apart from the others: whole tables go, and little
	// is rewritten.
	return s.db.Compact(ctx, historyPrefix(nil, first), historyPrefix(nil, bound), false)
}

// ended returns the last instant at which a version in the group ended: a read at or after it needs no
// history.
func (s *Store) ended(g groupID) int64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if t, ok := s.closed[g]; ok {
		return t
	}
	return s.restored
}

// Touched returns the last instant at which a document of the collection group changed, or an upper bound of
// it after a restart.
func (s *Store) Touched(db uint32, group string) int64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if t, ok := s.touched[groupID{db, group}]; ok {
		return t
	}
	return s.restored
}
