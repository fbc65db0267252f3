package objectstore

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"cloud.google.com/go/storage"
)

// Aspect is a property of the bucket that exports rely on.
type Aspect struct {
	// Name is one of AspectNames.
	Name string
	// Is says what the bucket has.
	Is string
	// Wrong says why that will not do; empty if it does.
	Wrong string
	// Remedy is set where Mend cannot mend it.
	Remedy string
}

// AspectNames are the aspects that Inspect tells of, in its order.
var AspectNames = []string{"location", "lifecycle", "soft delete", "versions", "uniform access", "public access"}

// Inspect tells how the bucket is set up. It needs storage.buckets.get.
func (s *Store) Inspect(ctx context.Context) ([]Aspect, error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.CallTimeout)
	defer cancel()
	attrs, err := s.bucket.Attrs(ctx)
	if err != nil {
		return nil, s.explain(ctx, "inspect bucket", s.cfg.Bucket, err)
	}
	return s.aspects(attrs), nil
}

func (s *Store) aspects(attrs *storage.BucketAttrs) []Aspect {
	location := Aspect{Name: "location", Is: attrs.Location}
	if s.cfg.Location != "" && !strings.EqualFold(s.cfg.Location, attrs.Location) {
		location.Wrong = "not in " + strings.ToUpper(s.cfg.Location) + ", and a bucket cannot be moved"
		location.Remedy = "name a new bucket in EXPORTD_BUCKET, then: exportd setup"
	}
	lifecycle := Aspect{Name: "lifecycle", Is: fmt.Sprintf("deletes exports/ after %d days", s.cfg.RetentionDays)}
	if s.cfg.RetentionDays > 0 && !hasRule(attrs.Lifecycle.Rules, s.cfg.RetentionDays) {
		lifecycle.Is, lifecycle.Wrong = "other rules", fmt.Sprintf("nothing deletes exports/ after %d days", s.cfg.RetentionDays)
	}
	soft := Aspect{Name: "soft delete", Is: "off"}
	if p := attrs.SoftDeletePolicy; p != nil && p.RetentionDuration > 0 {
		soft.Is = fmt.Sprintf("%d days", int(p.RetentionDuration/(24*time.Hour)))
		soft.Wrong = "deleted files stay, and are billed, that long"
	}
	versions := Aspect{Name: "versions", Is: "off"}
	if attrs.VersioningEnabled {
		versions.Is, versions.Wrong = "on", "deleted files stay, and are billed, as versions"
	}
	uniform := Aspect{Name: "uniform access", Is: "on"}
	if !attrs.UniformBucketLevelAccess.Enabled {
		uniform.Is, uniform.Wrong = "off", "a single object can be opened to others"
	}
	public := Aspect{Name: "public access", Is: "prevented"}
	if attrs.PublicAccessPrevention != storage.PublicAccessPreventionEnforced {
		public.Is, public.Wrong = "not prevented", "a grant to allUsers would publish all exports"
	}
	return []Aspect{location, lifecycle, soft, versions, uniform, public}
}

// Ensure is Mend for those who need no report.
func (s *Store) Ensure(ctx context.Context) error {
	_, err := s.Mend(ctx)
	return err
}

// Mend creates the bucket when it is missing, and sets what Inspect finds wrong: the lifecycle rule, beside
// other rules, no soft delete and no versions (deleted means deleted, and parts are deleted by every large
// export), uniform access, no public access. It changes nothing else of a bucket that exists, returns what it
// changed, and may be called again, by several processes at once. Where the bucket is in another location
// than the configuration says it is an error, after the rest is set.
func (s *Store) Mend(ctx context.Context) (changed []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.CallTimeout)
	defer cancel()
	attrs, err := s.bucket.Attrs(ctx)
	if errors.Is(err, storage.ErrBucketNotExist) {
		err = s.bucket.Create(ctx, s.cfg.ProjectID, &storage.BucketAttrs{
			Location:                 s.cfg.Location,
			UniformBucketLevelAccess: storage.UniformBucketLevelAccess{Enabled: true},
			PublicAccessPrevention:   storage.PublicAccessPreventionEnforced,
			SoftDeletePolicy:         &storage.SoftDeletePolicy{},
			Lifecycle:                s.lifecycle(nil),
		})
		if err == nil {
			return []string{"made bucket " + s.cfg.Bucket}, nil
		}
		if status(err) == http.StatusConflict { // somebody was faster; or it is somebody else's, then Attrs fails
			attrs, err = s.bucket.Attrs(ctx)
		}
	}
	if err != nil {
		return nil, s.explain(ctx, "ensure bucket", s.cfg.Bucket, err)
	}
	return s.mend(ctx, attrs)
}

func (s *Store) mend(ctx context.Context, attrs *storage.BucketAttrs) (changed []string, err error) {
	var update storage.BucketAttrsToUpdate
	var moved error
	for _, a := range s.aspects(attrs) {
		if a.Wrong == "" {
			continue
		}
		switch a.Name {
		case "location":
			moved = fmt.Errorf("bucket %s is in %s, %s; %s", s.cfg.Bucket, a.Is, a.Wrong, a.Remedy)
			continue
		case "lifecycle":
			lifecycle := s.lifecycle(attrs.Lifecycle.Rules)
			update.Lifecycle = &lifecycle
		case "soft delete":
			update.SoftDeletePolicy = &storage.SoftDeletePolicy{}
		case "versions":
			update.VersioningEnabled = false
		case "uniform access":
			update.UniformBucketLevelAccess = &storage.UniformBucketLevelAccess{Enabled: true}
		case "public access":
			update.PublicAccessPrevention = storage.PublicAccessPreventionEnforced
		}
		changed = append(changed, fmt.Sprintf("changed %s of bucket %s: it was %s", a.Name, s.cfg.Bucket, a.Is))
	}
	if len(changed) > 0 {
		if _, err := s.bucket.Update(ctx, update); err != nil {
			return nil, s.explain(ctx, "set up bucket", s.cfg.Bucket, err)
		}
	}
	return changed, moved
}

// lifecycle is others, without an older rule of ours, and our rule.
func (s *Store) lifecycle(others []storage.LifecycleRule) storage.Lifecycle {
	var l storage.Lifecycle
	for _, r := range others {
		if !isExportdRule(r) {
			l.Rules = append(l.Rules, r)
		}
	}
	if s.cfg.RetentionDays > 0 {
		l.Rules = append(l.Rules, storage.LifecycleRule{
			Action:    storage.LifecycleAction{Type: storage.DeleteAction},
			Condition: storage.LifecycleCondition{AgeInDays: int64(s.cfg.RetentionDays), MatchesPrefix: []string{exportsPrefix}},
		})
	}
	return l
}

func isExportdRule(r storage.LifecycleRule) bool {
	p := r.Condition.MatchesPrefix
	return r.Action.Type == storage.DeleteAction && len(p) == 1 && p[0] == exportsPrefix
}

func hasRule(rules []storage.LifecycleRule, days int) bool {
	for _, r := range rules {
		if isExportdRule(r) && r.Condition.AgeInDays == int64(days) {
			return true
		}
	}
	return false
}
