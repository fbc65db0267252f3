package storageserver

import (
	"encoding/json"
	"math"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"
	"google.golang.org/api/storage/v1"
)

// abortMultipartAction ends multipart uploads; Delete deletes objects.
const abortMultipartAction = "AbortIncompleteMultipartUpload"

// checkLifecycle refuses rules that the janitor would not follow as they are meant.
// https://cloud.google.com/storage/docs/lifecycle
func checkLifecycle(l *storage.BucketLifecycle) error {
	if l == nil {
		return nil
	}
	for _, rule := range l.Rule {
		if rule == nil || rule.Action == nil || rule.Condition == nil {
			return badRequest("A lifecycle rule needs an action and a condition.")
		}
		c := rule.Condition
		raw, err := json.Marshal(c)
		if err != nil || string(raw) == "{}" {
			return badRequest("A lifecycle rule needs a condition.")
		}
		switch rule.Action.Type {
		case "Delete":
		case abortMultipartAction:
			rest := *c
			rest.Age, rest.MatchesPrefix, rest.MatchesSuffix = nil, nil, nil
			if raw, err := json.Marshal(rest); err != nil || string(raw) != "{}" {
				return badRequest("The lifecycle action %s takes the conditions age, matchesPrefix and matchesSuffix alone.", abortMultipartAction)
			}
		default:
			return notImplemented("The lifecycle action %q", rule.Action.Type)
		}
		if c.MatchesPattern != "" {
			return notImplemented("The lifecycle condition matchesPattern")
		}
		if err := checkConditions(c); err != nil {
			return err
		}
	}
	return nil
}

func checkConditions(c *storage.BucketLifecycleRuleCondition) error {
	for _, day := range []struct{ field, value string }{{"CreatedBefore", c.CreatedBefore}, {"CustomTimeBefore", c.CustomTimeBefore}, {"NoncurrentTimeBefore", c.NoncurrentTimeBefore}} {
		if _, err := time.Parse(time.DateOnly, day.value); asked(c, day.field, day.value) && err != nil {
			return badRequest("Invalid date in a lifecycle condition: %q", day.value)
		}
	}
	var age int64
	if c.Age != nil {
		age = *c.Age
	}
	for _, n := range []int64{age, c.DaysSinceCustomTime, c.DaysSinceNoncurrentTime, c.NumNewerVersions} {
		if n < 0 || n > math.MaxInt32 {
			return badRequest("Invalid number in a lifecycle condition: %d", n)
		}
	}
	if n := min(c.SizeAboveBytes, c.SizeBelowBytes); n < 0 {
		return badRequest("Invalid size in a lifecycle condition: %d", n)
	}
	return nil
}

// zeroConditions are those that ask for something also when they are 0: 0 days ago is at once, and nothing is
// smaller than 0 bytes. Google's type tells that from nothing by ForceSendFields alone.
var zeroConditions = map[string]string{
	"daysSinceCustomTime": "DaysSinceCustomTime", "daysSinceNoncurrentTime": "DaysSinceNoncurrentTime", "numNewerVersions": "NumNewerVersions",
	"sizeAboveBytes": "SizeAboveBytes", "sizeBelowBytes": "SizeBelowBytes",
	"createdBefore": "CreatedBefore", "customTimeBefore": "CustomTimeBefore", "noncurrentTimeBefore": "NoncurrentTimeBefore", // "" is no day
}

// keepZeros has the rules that were read from a bucket's JSON hold, and be written with, the conditions that
// are 0 there.
func keepZeros(bucket []byte, rules *storage.BucketLifecycle) error {
	var sent struct {
		Lifecycle struct {
			Rule []struct {
				Condition map[string]json.RawMessage `json:"condition"`
			} `json:"rule"`
		} `json:"lifecycle"`
	}
	if err := json.Unmarshal(bucket, &sent); err != nil {
		return err
	}
	for i, rule := range sent.Lifecycle.Rule {
		if i >= len(rules.Rule) || rules.Rule[i] == nil || rules.Rule[i].Condition == nil {
			continue
		}
		c := rules.Rule[i].Condition
		c.ForceSendFields = nil
		for name, value := range rule.Condition {
			if field, ok := zeroConditions[name]; ok && string(value) != "null" {
				c.ForceSendFields = append(c.ForceSendFields, field)
			}
		}
	}
	return nil
}

// asked says whether a rule has the condition, one of zeroConditions.
func asked[T comparable](c *storage.BucketLifecycleRuleCondition, field string, value T) bool {
	var zero T
	return value != zero || slices.Contains(c.ForceSendFields, field)
}

// conditionsOf are those of a bucket's rules with an action.
func conditionsOf(b *storage.Bucket, action string) (out []*storage.BucketLifecycleRuleCondition) {
	if b.Lifecycle == nil {
		return nil
	}
	for _, rule := range b.Lifecycle.Rule {
		if rule != nil && rule.Action != nil && rule.Action.Type == action && rule.Condition != nil {
			out = append(out, rule.Condition)
		}
	}
	return out
}

// due says whether all parts of a condition hold for a version of an object; newer is how many newer ones
// there are, with the live one.
func due(c *storage.BucketLifecycleRuleCondition, o *storage.Object, newer int64, now time.Time) bool {
	if c.MatchesPattern != "" || c.IsLive != nil && *c.IsLive != (o.TimeDeleted == "") || newer < c.NumNewerVersions {
		return false
	}
	if asked(c, "DaysSinceNoncurrentTime", c.DaysSinceNoncurrentTime) || c.NoncurrentTimeBefore != "" {
		retired, err := time.Parse(time.RFC3339Nano, o.TimeDeleted)
		if err != nil || retired.After(now.AddDate(0, 0, -int(c.DaysSinceNoncurrentTime))) || !before(retired, c.NoncurrentTimeBefore) {
			return false
		}
	}
	created, err := time.Parse(time.RFC3339Nano, o.TimeCreated)
	if err != nil {
		return false // keeping a file too long is the safe mistake
	}
	if c.Age != nil && created.After(now.AddDate(0, 0, -int(*c.Age))) || !before(created, c.CreatedBefore) {
		return false
	}
	size := int64(o.Size)
	if asked(c, "SizeAboveBytes", c.SizeAboveBytes) && size <= c.SizeAboveBytes || asked(c, "SizeBelowBytes", c.SizeBelowBytes) && size >= c.SizeBelowBytes {
		return false
	}
	if asked(c, "DaysSinceCustomTime", c.DaysSinceCustomTime) || c.CustomTimeBefore != "" {
		custom, err := time.Parse(time.RFC3339Nano, o.CustomTime)
		if err != nil || custom.After(now.AddDate(0, 0, -int(c.DaysSinceCustomTime))) || !before(custom, c.CustomTimeBefore) {
			return false
		}
	}
	return namedBy(c, o.Name) && (len(c.MatchesStorageClass) == 0 || slices.Contains(c.MatchesStorageClass, o.StorageClass))
}

// namedBy says whether a condition is about objects of that name.
func namedBy(c *storage.BucketLifecycleRuleCondition, name string) bool {
	return (len(c.MatchesPrefix) == 0 || slices.ContainsFunc(c.MatchesPrefix, func(p string) bool { return strings.HasPrefix(name, p) })) &&
		(len(c.MatchesSuffix) == 0 || slices.ContainsFunc(c.MatchesSuffix, func(p string) bool { return strings.HasSuffix(name, p) }))
}

// before says whether t is before the day, in UTC; there may be none.
func before(t time.Time, day string) bool {
	if day == "" {
		return true
	}
	d, err := time.Parse(time.DateOnly, day)
	return err == nil && t.Before(d)
}

// expire deletes the objects for which the condition holds: as a caller would who names the generation of
// what is not live, and none of what is, but at any pace, as all versions of a name may be due at once.
func (s *Server) expire(bucket string, c *storage.BucketLifecycleRuleCondition, now time.Time) error {
	lower, upper := objectSpan(bucket)
	var name string
	var newer int64
	return scanBack(s.db, lower, upper, func(key, value []byte) error {
		var rec record
		if err := decode(value, &rec); err != nil {
			return err
		}
		of, noncurrent := split(string(key[len(lower):]))
		switch {
		case !noncurrent:
			newer = 0
		case of != name: // the newest of them
			live, err := s.find(bucket, of)
			if err != nil {
				return err
			}
			newer = 0
			if live != nil {
				newer = 1
			}
		}
		name = of
		o := rec.Object
		if due(c, o, newer, now) {
			cond := conditions{GenerationMatch: &o.Generation}
			if noncurrent {
				cond.Generation = &o.Generation
			}
			if err := s.remove(bucket, o.Name, &cond, nil); err != nil {
				s.log.Warn("object not expired", zap.String("object", o.Name), zap.Error(err)) // replaced, held or deleted just now
			}
		}
		newer++
		return nil
	})
}
