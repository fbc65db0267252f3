package apikey_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"exportd/internal/apikey"
	"exportd/internal/localcloud/localcloudtest"
	"exportd/jobs"
)

// A missing or wrong keyset makes every good key look wrong. That is the service's fault: all look-ups are
// unavailable, known or not, and CheckSealed says why; with the right one a record that does not open is that
// key's fault alone.
func TestWrongKeyset(t *testing.T) {
	t.Parallel()
	cloud := localcloudtest.Start(t)
	sealer := func(name string) *apikey.Sealer {
		s, err := apikey.OpenSealer(t.Context(), apikey.KeysetConfig{Path: filepath.Join(t.TempDir(), name), Make: true})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	right := sealer("right")
	store := func(c apikey.StoreConfig) *apikey.Store {
		c.Client = cloud.Firestore
		s, err := apikey.NewStore(c)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Close)
		return s
	}
	good := store(apikey.StoreConfig{Sealer: right})
	if err := good.CheckSealed(t.Context()); err != nil {
		t.Errorf("without a key: %v", err)
	}
	by := apikey.By{Actor: "test", Reason: "test"}
	one, err := good.Create(t.Context(), apikey.Draft{OrgID: "org1"}, by)
	if err != nil {
		t.Fatal(err)
	}
	damaged, err := good.Create(t.Context(), apikey.Draft{OrgID: "org1"}, by)
	if err != nil {
		t.Fatal(err)
	}
	// The secrets of one in the record of the other.
	doc, err := cloud.Firestore.Collection(apikey.Collection).Doc(one.ID).Get(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cloud.Firestore.Collection(apikey.Collection).Doc(damaged.ID).Set(t.Context(), doc.Data()); err != nil {
		t.Fatal(err)
	}
	fresh := store(apikey.StoreConfig{Sealer: right})
	if _, err := fresh.Lookup(t.Context(), damaged.ID); !errors.Is(err, jobs.ErrInvalid) || errors.Is(err, jobs.ErrUnavailable) {
		t.Errorf("a damaged record = %v, want ErrInvalid", err)
	}
	if k, err := fresh.Lookup(t.Context(), one.ID); err != nil || k.ID != one.ID {
		t.Errorf("a good record beside it = %v", err)
	}
	if err := fresh.CheckSealed(t.Context()); err != nil {
		t.Errorf("with the right keyset: %v", err)
	}
	for name, c := range map[string]apikey.StoreConfig{"another keyset": {Sealer: sealer("wrong")}, "no keyset": {}} {
		s := store(c)
		for _, id := range []string{one.ID, "key_nobody_knows", damaged.ID} {
			if _, err := s.Lookup(t.Context(), id); !errors.Is(err, jobs.ErrUnavailable) || !errors.Is(err, apikey.ErrKeyset) {
				t.Errorf("%s: look-up of %s = %v, want ErrKeyset, which is ErrUnavailable", name, id, err)
			}
			if _, err := s.Fresh(t.Context(), id); !errors.Is(err, apikey.ErrKeyset) {
				t.Errorf("%s: fresh look-up of %s = %v, want ErrKeyset", name, id, err)
			}
		}
		if err := s.CheckSealed(t.Context()); !errors.Is(err, apikey.ErrKeyset) {
			t.Errorf("%s: CheckSealed = %v", name, err)
		}
	}
}

// TestKeysetIsLookedAtSeldom: a hundred workers that ask each minute would read 33 records a second; a record
// that does not open has the keyset looked at soon all the same.
func TestKeysetIsLookedAtSeldom(t *testing.T) {
	t.Parallel()
	cloud := localcloudtest.Start(t)
	sealer := func() *apikey.Sealer {
		s, err := apikey.OpenSealer(t.Context(), apikey.KeysetConfig{Path: filepath.Join(t.TempDir(), "keyset"), Make: true})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	now := time.Now()
	keyset := sealer()
	open := func(sealer *apikey.Sealer) *apikey.Store {
		s, err := apikey.NewStore(apikey.StoreConfig{Client: cloud.Firestore, Sealer: sealer, Now: func() time.Time { return now }})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Close)
		return s
	}
	s := open(keyset)
	by := apikey.By{Actor: "test", Reason: "test"}
	mine, err := s.Create(t.Context(), apikey.Draft{OrgID: "org1"}, by)
	if err != nil {
		t.Fatal(err)
	}
	looked := func() bool {
		t.Helper()
		before := cloud.Faults().Counters().DocumentsRead
		if err := s.CheckSealed(t.Context()); err != nil {
			t.Errorf("CheckSealed = %v", err)
		}
		return cloud.Faults().Counters().DocumentsRead > before
	}
	for _, step := range []struct {
		after time.Duration
		want  bool
	}{{0, true}, {time.Minute, false}, {58 * time.Minute, false}, {time.Minute, true}} {
		if now = now.Add(step.after); looked() != step.want {
			t.Errorf("%s later the records were looked at: %v, want %v", step.after, !step.want, step.want)
		}
	}
	// Where there is nothing to open, the keyset is looked at as seldom.
	if _, err := cloud.Firestore.Collection(apikey.Collection).Doc(mine.ID).Set(t.Context(),
		map[string]any{"orgId": "org1", "secret": strings.Repeat("s", 32)}); err != nil {
		t.Fatal(err)
	}
	s = open(keyset)
	for _, want := range []bool{true, false} {
		if now = now.Add(time.Minute); looked() != want {
			t.Errorf("the records of a collection without sealed secrets were looked at: %v, want %v", !want, want)
		}
	}
	// All records are another keyset's now: the first look-up finds out, not the next hour.
	if _, err := cloud.Firestore.Collection(apikey.Collection).Doc(mine.ID).Delete(t.Context()); err != nil {
		t.Fatal(err)
	}
	theirs, err := open(sealer()).Create(t.Context(), apikey.Draft{OrgID: "org1"}, by)
	if err != nil {
		t.Fatal(err)
	}
	now = now.Add(time.Minute)
	if _, err := s.Lookup(t.Context(), theirs.ID); !errors.Is(err, apikey.ErrKeyset) {
		t.Errorf("look-up of another keyset's key = %v, want ErrKeyset", err)
	}
}

// TestPlainSecretsRefused: where secrets must be sealed, one in clear opens nothing.
func TestPlainSecretsRefused(t *testing.T) {
	t.Parallel()
	cloud := localcloudtest.Start(t)
	ref := cloud.Firestore.Collection(apikey.Collection).Doc("key_by_hand")
	if _, err := ref.Set(t.Context(), map[string]any{"orgId": "org1", "secret": "0123456789abcdef0123456789abcdef"}); err != nil {
		t.Fatal(err)
	}
	sealer, err := apikey.OpenSealer(t.Context(), apikey.KeysetConfig{Path: filepath.Join(t.TempDir(), "keyset"), Make: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, refuse := range []bool{true, false} {
		s, err := apikey.NewStore(apikey.StoreConfig{Client: cloud.Firestore, Sealer: sealer, RefusePlain: refuse})
		if err != nil {
			t.Fatal(err)
		}
		if n, err := s.CountSealed(t.Context(), 10); err != nil || n != (apikey.Sealed{Records: 1, Plain: 1}) {
			t.Errorf("counts = %+v, %v", n, err)
		}
		_, err = s.Lookup(t.Context(), ref.ID)
		if refuse && !errors.Is(err, jobs.ErrInvalid) || !refuse && err != nil {
			t.Errorf("refused %v: look-up = %v", refuse, err)
		}
		s.Close()
	}
}

// TestKeysetComesLate: a process that begins without its keyset refuses every key, makes none, says so, and
// goes on once the keyset is there, with what it has read before.
func TestKeysetComesLate(t *testing.T) {
	t.Parallel()
	cloud := localcloudtest.Start(t)
	dir := t.TempDir()
	home, late := filepath.Join(dir, "home"), filepath.Join(dir, "late")
	keyset, err := apikey.OpenSealer(t.Context(), apikey.KeysetConfig{Path: home, Make: true})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	open := func(sealer *apikey.Sealer) *apikey.Store {
		s, err := apikey.NewStore(apikey.StoreConfig{Client: cloud.Firestore, Sealer: sealer, TTL: 30 * time.Second, Now: func() time.Time { return now }})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Close)
		return s
	}
	by := apikey.By{Actor: "test", Reason: "test"}
	sealed, err := open(keyset).Create(t.Context(), apikey.Draft{OrgID: "org1"}, by)
	if err != nil {
		t.Fatal(err)
	}
	waiting := apikey.AwaitSealer(t.Context(), apikey.KeysetConfig{Path: late})
	s := open(waiting)
	for range 2 {
		if err := s.CheckSealed(t.Context()); !errors.Is(err, apikey.ErrKeyset) || !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), late) {
			t.Errorf("without its keyset: %v", err)
		}
		for _, lookup := range []apikey.LookupFunc{s.Lookup, s.Fresh} {
			if _, err := lookup(t.Context(), sealed.ID); !errors.Is(err, apikey.ErrKeyset) || !errors.Is(err, jobs.ErrUnavailable) {
				t.Errorf("look-up without the keyset = %v", err)
			}
		}
	}
	if _, err := s.Create(t.Context(), apikey.Draft{OrgID: "org1"}, by); !errors.Is(err, jobs.ErrUnavailable) {
		t.Errorf("a key that nothing seals is made: %v", err)
	}
	if _, err := waiting.SealText("test", nil); !errors.Is(err, jobs.ErrUnavailable) {
		t.Errorf("seals a text: %v", err)
	}
	if _, err := waiting.OpenText("test", nil); !errors.Is(err, jobs.ErrUnavailable) {
		t.Errorf("opens a text: %v", err)
	}
	if err := os.WriteFile(late, []byte("half of a ke"), 0o600); err != nil {
		t.Fatal(err)
	}
	now = now.Add(time.Minute)
	if err := s.CheckSealed(t.Context()); !errors.Is(err, apikey.ErrKeyset) || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("with a damaged keyset: %v", err)
	}
	if err := os.Remove(late); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(home, late); err != nil {
		t.Fatal(err)
	}
	now = now.Add(time.Minute)
	if k, err := s.Lookup(t.Context(), sealed.ID); err != nil || k.ID != sealed.ID { // nobody has asked CheckSealed
		t.Errorf("look-up with the keyset = %v", err)
	}
	if err := s.CheckSealed(t.Context()); err != nil {
		t.Errorf("with the keyset: %v", err)
	}
	if _, err := s.Create(t.Context(), apikey.Draft{OrgID: "org1"}, by); err != nil {
		t.Error(err)
	}
}
