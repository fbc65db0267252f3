package jobs_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"exportd/jobs"
)

func FuzzParseMessage(f *testing.F) {
	id := "abcdefghijklmnopqrstuvwxyz"
	for _, s := range []string{
		`{"jobId":"` + id + `"}`, `{"jobId":"` + id + `","planEpoch":3,"part":7}`, `{"jobId":"` + id + `","callbackId":"msg_` + id + `_failed_2"}`,
		`{"jobId":"` + id + `"}}`, `{"jobId":"` + id + `","extra":1}`, `null`, `[]`, ``, `{"jobId":"` + id + `","part":1}`, `{"jobId":"../../x"}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := jobs.ParseMessage(data)
		if err != nil {
			if !errors.Is(err, jobs.ErrInvalid) {
				t.Errorf("ParseMessage(%q) = %v, want ErrInvalid", data, err)
			}
			return
		}
		again, err := jobs.ParseMessage(m.Encode())
		if err != nil || again != m {
			t.Errorf("ParseMessage(Encode(%+v)) = %+v, %v", m, again, err)
		}
	})
}

func TestParseMessageRefuses(t *testing.T) {
	t.Parallel()
	ok := `{"jobId":"abcdefghijklmnopqrstuvwxyz"}`
	if _, err := jobs.ParseMessage([]byte(ok)); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{
		ok + "}", ok + ok, ok + " x", strings.Replace(ok, "}", `,"future":1}`, 1), strings.Replace(ok, "}", `,"part":1}`, 1),
		strings.Replace(ok, "}", `,"planEpoch":-1}`, 1), strings.Replace(ok, "}", `,"callbackId":"a/b"}`, 1), strings.Repeat(" ", 2000) + ok, `{"jobId":""}`,
	} {
		if m, err := jobs.ParseMessage([]byte(bad)); !errors.Is(err, jobs.ErrInvalid) {
			t.Errorf("ParseMessage(%q) = %+v, %v, want ErrInvalid", bad, m, err)
		}
	}
}

func TestBackoff(t *testing.T) {
	t.Parallel()
	for _, jitter := range []float64{0, 0.5, 0.999} {
		p := jobs.Policy{BackoffMin: time.Second, BackoffMax: 5 * time.Minute, Jitter: func() float64 { return jitter }}
		last := time.Duration(0)
		for spent := range 100 {
			got := p.Backoff(spent)
			if got < p.BackoffMin/2 || got > p.BackoffMax || got < last {
				t.Errorf("Backoff(%d) with jitter %v = %v after %v", spent, jitter, got, last)
			}
			last = got
		}
		if last < p.BackoffMax/2 {
			t.Errorf("Backoff(99) = %v, want at least half of the most", last)
		}
	}
}

func TestPercent(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		state       jobs.State
		done, total int64
		want        int
	}{
		{jobs.Queued, 0, 0, 0}, {jobs.Running, 0, 10, 0}, {jobs.Running, 5, 10, 50}, {jobs.Running, 10, 10, 99}, {jobs.Running, 11, 10, 99},
		{jobs.Failed, 999, 1000, 99}, {jobs.Succeeded, 0, 0, 100}, {jobs.Expired, 0, 7, 100},
	} {
		if got := jobs.Percent(tc.state, tc.done, tc.total); got != tc.want {
			t.Errorf("Percent(%s, %d, %d) = %d, want %d", tc.state, tc.done, tc.total, got, tc.want)
		}
	}
}

func TestFingerprint(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)
	base := jobs.Params{"workspaceId": "w", "mediumId": "m", "from": at, "to": at.Add(time.Hour), "profile": jobs.ProfileExcel}
	want := jobs.Fingerprint("o", "vip-messages", 1, base)
	same := base.With("from", at.In(time.FixedZone("x", 7200)))
	if got := jobs.Fingerprint("o", "vip-messages", 1, same); got != want || len(got) != 64 {
		t.Errorf("Fingerprint in another zone = %s, want %s", got, want)
	}
	seen := map[string]bool{want: true, jobs.Fingerprint("p", "vip-messages", 1, base): true, jobs.Fingerprint("o", "vip-users", 1, base): true}
	seen[jobs.Fingerprint("o", "vip-messages", 2, base)] = true
	changes := jobs.Params{"workspaceId": "x", "mediumId": "x", "hasBirthday": true, "birthdayMonth": int64(1), "from": at.Add(time.Microsecond),
		"to": at.Add(time.Hour + time.Microsecond), "label": "x", "contentType": "x", "profile": jobs.ProfileRFC4180, "formulaGuard": true, "another": "x"}
	for name, v := range changes {
		seen[jobs.Fingerprint("o", "vip-messages", 1, base.With(name, v))] = true
	}
	if len(seen) != 4+len(changes) {
		t.Errorf("%d different requests have %d fingerprints", 4+len(changes), len(seen))
	}
	// One that was made before there were datasets: such jobs are still under way.
	const before = "221540b51d38baea3d40ddf1d600c4afd73d5f90a496bd54c16d3740815b9c49"
	old := jobs.Params{"workspaceId": "w", "mediumId": "m", "from": at, "to": at.Add(time.Hour), "contentType": "text", "profile": jobs.ProfileExcel, "formulaGuard": false}
	if got := jobs.Fingerprint("o", "vip-messages", 1, old); got != before {
		t.Errorf("Fingerprint = %s, it was %s", got, before)
	}
}

func TestIDs(t *testing.T) {
	t.Parallel()
	var ids []string
	for i := range 1200 {
		ids = append(ids, jobs.PartID(12, i))
	}
	if !slices.IsSorted(ids) {
		t.Error("PartID does not sort as parts do")
	}
	for range 100 {
		if id := jobs.NewID(); !jobs.ValidID(id) {
			t.Errorf("ValidID(%q) = false", id)
		}
	}
	for _, bad := range []string{"", "abc", strings.Repeat("A", 26), strings.Repeat("1", 26), strings.Repeat("a", 27), "abcdefghijklmnopqrstuvwxy/"} {
		if jobs.ValidID(bad) {
			t.Errorf("ValidID(%q) = true", bad)
		}
	}
}
