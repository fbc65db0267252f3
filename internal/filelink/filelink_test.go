package filelink

import (
	"context"
	"encoding/base64"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"exportd/internal/apikey"
	"exportd/jobs"
)

// rig is Links with a store and a clock of the test's.
type rig struct {
	*Links
	now        time.Time
	generation atomic.Int64
	reads      atomic.Int64
	err        error
}

func (r *rig) LinkGeneration(context.Context, string) (int64, error) {
	r.reads.Add(1)
	return r.generation.Load(), r.err
}

func newRig(t *testing.T) *rig {
	t.Helper()
	sealer, err := apikey.PassingSealer()
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{now: time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)}
	if r.Links, err = New(Config{Base: "https://x.example", Sealer: sealer, Store: r, Now: func() time.Time { return r.now }}); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *rig) job() *jobs.Job {
	j := &jobs.Job{ID: jobs.NewID(), OrgID: "org1", State: jobs.Succeeded, LinksRevoked: 3, FileExpiresAt: r.now.Add(time.Hour + 500*time.Millisecond)}
	j.Result.Object = j.ObjectPrefix() + "1/users.csv"
	return j
}

// TestLink: what a token says comes back, no two are alike, and one works until the whole second in which its
// file's time is over.
func TestLink(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	j := r.job()
	r.generation.Store(7)
	asker := Asker{KeyID: "key_" + strings.Repeat("a", 60), Callback: true}
	url, until, err := r.URL(t.Context(), j, asker)
	if err != nil || until != r.now.Add(time.Hour) {
		t.Fatalf("URL() = %q, %s, %v", url, until, err)
	}
	again, _, _ := r.URL(t.Context(), j, asker)
	token, ok := strings.CutPrefix(url, "https://x.example/files/")
	if !ok || again == url || len(token) > maxToken/2 {
		t.Errorf("links are %q and %q", url, again)
	}
	link, err := r.Open(token)
	if err != nil || link.JobID != j.ID || link.Asker != asker || link.OfJob != 3 || link.OfOrg != 7 || link.Expires != until.Unix() || !jobs.ValidLink(link.ID) {
		t.Fatalf("Open() = %+v, %v", link, err)
	}
	if !link.LeadsTo(j) {
		t.Error("a fresh link leads nowhere")
	}
	for after, want := range map[time.Duration]bool{0: true, time.Hour - 1: true, time.Hour: false} {
		r.now = until.Add(after - time.Hour)
		if good, err := r.Good(t.Context(), link, "org1"); good != want || err != nil {
			t.Errorf("after %s Good() = %t, %v", after, good, err)
		}
	}
	for asker, want := range map[Asker]string{{KeyID: "k"}: "api key k", {KeyID: "k", Callback: true}: "callback of api key k", {Person: "ann@example.com"}: "ann@example.com"} {
		if asker.String() != want {
			t.Errorf("%+v is %q", asker, asker)
		}
	}
}

// TestForged: a token with any bit turned, of another keyset or of another purpose is none.
func TestForged(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	url, _, err := r.URL(t.Context(), r.job(), Asker{KeyID: "key_one1"})
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(url, "https://x.example/files/"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range len(sealed) * 8 {
		forged := append([]byte(nil), sealed...)
		forged[i/8] ^= 1 << (i % 8)
		if link, err := r.Open(base64.RawURLEncoding.EncodeToString(forged)); !errors.Is(err, ErrNone) {
			t.Fatalf("with bit %d turned Open() = %+v, %v", i, link, err)
		}
	}
	other, err := r.Sealer.SealText("session", []byte(`{"id":"`+jobs.NewID()+`","job":"`+jobs.NewID()+`"}`))
	if err != nil {
		t.Fatal(err)
	}
	empty, err := r.Sealer.SealText(purpose, []byte("{}"))
	if err != nil {
		t.Fatal(err)
	}
	for name, token := range map[string][]byte{"another purpose": other, "says nothing": empty, "empty": nil} {
		if _, err := r.Open(base64.RawURLEncoding.EncodeToString(token)); !errors.Is(err, ErrNone) {
			t.Errorf("%s: Open() = %v", name, err)
		}
	}
	if _, err := newRig(t).Open(strings.TrimPrefix(url, "https://x.example/files/")); !errors.Is(err, ErrNone) {
		t.Errorf("of another keyset Open() = %v", err)
	}
}

// TestSeen: what an org has revoked is known Seen later, or at once where it was done here; in between it is
// not asked for again. What cannot be read is no answer.
func TestSeen(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	j := r.job()
	url, _, err := r.URL(t.Context(), j, Asker{})
	if err != nil {
		t.Fatal(err)
	}
	link, err := r.Open(strings.TrimPrefix(url, "https://x.example/files/"))
	if err != nil {
		t.Fatal(err)
	}
	good := func(want bool) {
		t.Helper()
		if got, err := r.Good(t.Context(), link, j.OrgID); err != nil || got != want {
			t.Errorf("Good() = %t, %v", got, err)
		}
	}
	good(true)
	r.generation.Store(1)
	r.now = r.now.Add(Seen - 1)
	good(true)
	if n := r.reads.Load(); n != 1 { // by URL
		t.Errorf("%d reads within %s", n, Seen)
	}
	r.now = r.now.Add(1)
	good(false)
	r.generation.Store(0)
	r.Forget(j.OrgID)
	good(true)
	r.err = jobs.ErrUnavailable
	r.Forget(j.OrgID)
	if got, err := r.Good(t.Context(), link, j.OrgID); err == nil || got {
		t.Errorf("Good() = %t, %v of what cannot be read", got, err)
	}
	if _, _, err := r.URL(t.Context(), j, Asker{}); !errors.Is(err, jobs.ErrUnavailable) {
		t.Errorf("URL() = %v of what cannot be read", err)
	}
}

// TestAfterRevocation: what is handed out after all links of an org were revoked by another process is of the
// new generation at once, and works at once where the old one is still remembered.
func TestAfterRevocation(t *testing.T) {
	t.Parallel()
	here, there := newRig(t), newRig(t)
	there.Sealer = here.Sealer
	j := here.job()
	open := func() *Link {
		t.Helper()
		url, _, err := here.URL(t.Context(), j, Asker{KeyID: "key_one1", Callback: true})
		if err != nil {
			t.Fatal(err)
		}
		link, err := here.Open(strings.TrimPrefix(url, "https://x.example/files/"))
		if err != nil {
			t.Fatal(err)
		}
		return link
	}
	old := open()
	if good, err := there.Good(t.Context(), old, j.OrgID); !good || err != nil {
		t.Fatalf("Good() = %t, %v", good, err)
	}
	here.generation.Store(1)
	there.generation.Store(1)
	fresh := open()
	if fresh.OfOrg != 1 {
		t.Errorf("a link is of generation %d", fresh.OfOrg)
	}
	if good, err := there.Good(t.Context(), fresh, j.OrgID); !good || err != nil {
		t.Errorf("where the old generation is remembered Good() = %t, %v", good, err)
	}
	if good, err := there.Good(t.Context(), old, j.OrgID); good || err != nil {
		t.Errorf("an old link is Good() = %t, %v", good, err)
	}
}

// slowStore answers a read when it is told to.
type slowStore struct {
	asked  chan struct{}
	answer chan int64
}

func (s *slowStore) LinkGeneration(context.Context, string) (int64, error) {
	s.asked <- struct{}{}
	return <-s.answer, nil
}

// TestSlowRead: whoever comes more than Seen after a read began does not believe what it gives.
func TestSlowRead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &slowStore{make(chan struct{}), make(chan int64)}
		l, err := New(Config{Store: store})
		if err != nil {
			t.Fatal(err)
		}
		var first, late int64
		var wg sync.WaitGroup
		wg.Go(func() { first, _ = l.generation(t.Context(), "org1") })
		<-store.asked
		time.Sleep(Seen + 1)
		wg.Go(func() { late, _ = l.generation(t.Context(), "org1") })
		synctest.Wait()
		store.answer <- 1
		<-store.asked // once more
		store.answer <- 2
		wg.Wait()
		if first != 1 || late != 2 {
			t.Errorf("the first reads %d, who came late %d", first, late)
		}
	})
}
