package fsstore

import (
	"encoding/binary"
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

// sweep drops history buckets that lie wholly before the retention period.
func (s *Store) sweep() {
	defer s.done.Done()
	every := max(time.Duration(s.retention/bucketsPerRetention)*time.Microsecond, 100*time.Millisecond)
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-s.quit:
			return
		case <-tick.C:
			if err := s.dropHistory(); err != nil {
				s.log.Error("drop old versions", "error", err)
			}
		}
	}
}

func (s *Store) dropHistory() error {
	// One bucket of slack: a request admitted just inside the period may still be opening its snapshot.
	horizon := s.clock.now().UnixMicro() - s.retention - s.retention/bucketsPerRetention
	s.mu.Lock()
	n := 0
	for n+1 < len(s.buckets) && s.buckets[n+1] <= horizon {
		n++
	}
	var bound int64
	if n > 0 {
		bound = s.buckets[n]
		s.buckets = slices.Delete(s.buckets, 0, n)
	}
	s.mu.Unlock()
	if n == 0 {
		return nil
	}
	return s.db.DeleteRange([]byte{spaceHistory}, historyPrefix(nil, bound), pebble.NoSync)
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
