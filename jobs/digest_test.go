package jobs_test

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"exportd/jobs"
)

// TestDamagedDigest: what no SHA-256 is, of the file or of what stands between its parts, is damage; one of
// another object is none, and says nothing.
func TestDamagedDigest(t *testing.T) {
	t.Parallel()
	sum := strings.Repeat("0a", 32)
	done := func() *desk {
		d := newDesk(t)
		d.succeed()
		d.job.Result.Digest = &jobs.Digest{Object: d.job.Result.Object, SHA256: sum, Frames: []jobs.Frame{{Offset: 4, Size: 5, SHA256: sum}}}
		return d
	}
	d := done()
	r := d.job.Result
	if err := d.job.Check(d.now); err != nil || r.Digest.Of(r.Object).SHA256 != sum || len(r.Digest.Of(r.Object).Frames) != 1 {
		t.Errorf("%+v: %v", r.Digest, err)
	}
	if other := r.Digest.Of("another"); other.SHA256 != "" || other.Frames != nil {
		t.Errorf("of another object is known %+v", other)
	}
	ended := 0
	for name, of := range map[string]func(j *jobs.Job) any{
		"digest": func(j *jobs.Job) any { return j.Result.Digest }, "frame": func(j *jobs.Job) any { return &j.Result.Digest.Frames[0] },
	} {
		eachField(reflect.ValueOf(of(d.job)).Elem(), "", func(field string, v reflect.Value) {
			for _, value := range extremes(v) {
				d := done()
				f := reflect.ValueOf(of(d.job)).Elem().FieldByName(field)
				f.Set(reflect.ValueOf(value).Convert(f.Type()))
				if err := d.job.Check(d.now); errors.Is(err, jobs.ErrInvalid) {
					ended++
					checkInvalidated(t, d, fmt.Sprintf("%s.%s = %.40v", name, field, value))
				} else if field == "SHA256" && value != "" || field == "SHA256" && name == "frame" {
					t.Errorf("%s.%s = %.40v is not refused", name, field, value)
				}
			}
		})
	}
	d = done()
	for range 2000 {
		d.job.Result.Digest.Frames = append(d.job.Result.Digest.Frames, d.job.Result.Digest.Frames[0])
	}
	if err := d.job.Check(d.now); !errors.Is(err, jobs.ErrInvalid) || ended < 20 {
		t.Errorf("2001 frames: %v; %d documents ended", err, ended)
	}
	p := &jobs.Part{ID: jobs.PartID(0, 0), JobID: d.job.ID, OrgID: d.job.OrgID, Schema: 1, State: jobs.PartPending, Digest: &jobs.Digest{SHA256: "x"}}
	if err := p.Check(d.job, d.now); !errors.Is(err, jobs.ErrInvalid) || !strings.Contains(err.Error(), "digest") {
		t.Errorf("a part: %v", err)
	}
}
