package storageserver

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"go.uber.org/zap"
	"google.golang.org/api/storage/v1"
)

// janitorEvery is how often old uploads and objects past their bucket's lifecycle rules are removed. Cloud
// Storage takes up to a day.
const janitorEvery = time.Hour

func (s *Server) runJanitor() {
	tick := time.NewTicker(janitorEvery)
	defer tick.Stop()
	for {
		if err := s.tidy(time.Now()); err != nil {
			s.log.Error("remove expired objects", zap.Error(err))
		}
		select {
		case <-s.stop:
			return
		case <-tick.C:
		}
	}
}

// tidy removes what has expired at now.
func (s *Server) tidy(now time.Time) error {
	err := scan(s.db, []byte("s"), []byte("t"), func(key, value []byte) error {
		var state sessionState
		if err := json.Unmarshal(value, &state); err != nil || s.idle(&state, now) < sessionLife {
			return err
		}
		if !state.Done {
			s.dropFile(state.Blob)
		}
		s.forget(string(key[1:]))
		return s.db.Delete(slices.Clone(key), pebble.NoSync)
	})
	if err != nil {
		return err
	}
	return scan(s.db, []byte("b"), []byte("c"), func(_, value []byte) error {
		var b storage.Bucket
		if err := json.Unmarshal(value, &b); err != nil || b.Lifecycle == nil {
			return err
		}
		for _, rule := range b.Lifecycle.Rule {
			if rule.Action != nil && rule.Action.Type == "Delete" && rule.Condition != nil && rule.Condition.Age != nil {
				if err := s.expire(b.Name, rule.Condition, now); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// expire deletes the objects that a rule with an age, and perhaps prefixes, names. A rule with any other
// condition deletes nothing: keeping a file too long is the safe mistake.
func (s *Server) expire(bucket string, c *storage.BucketLifecycleRuleCondition, now time.Time) error {
	only := storage.BucketLifecycleRuleCondition{Age: c.Age, MatchesPrefix: c.MatchesPrefix}
	a, errA := json.Marshal(only)
	b, errB := json.Marshal(c)
	if errA != nil || errB != nil || string(a) != string(b) {
		return nil
	}
	lower := objectKey(bucket, "")
	upper := slices.Clone(lower)
	upper[len(upper)-1]++
	before := now.Add(-time.Duration(*c.Age) * 24 * time.Hour)
	return scan(s.db, lower, upper, func(_, value []byte) error {
		var rec record
		if err := json.Unmarshal(value, &rec); err != nil {
			return err
		}
		created, err := time.Parse(time.RFC3339Nano, rec.Object.TimeCreated)
		if err != nil || created.After(before) {
			return err
		}
		match := func(prefix string) bool { return strings.HasPrefix(rec.Object.Name, prefix) }
		if len(c.MatchesPrefix) > 0 && !slices.ContainsFunc(c.MatchesPrefix, match) {
			return nil
		}
		err = s.remove(bucket, rec.Object.Name, &conditions{GenerationMatch: &rec.Object.Generation})
		if err != nil {
			s.log.Warn("object not expired", zap.String("object", rec.Object.Name), zap.Error(err)) // replaced or deleted just now
		}
		return nil
	})
}
