package webhook

import (
	"fmt"
	"sync"
	"testing"
)

func TestLimiter(t *testing.T) {
	t.Parallel()
	l := NewLimiter(0, 0)
	var releases []func()
	take := func(host, tenant string, want bool) {
		t.Helper()
		release, ok := l.TryAcquire(host, tenant)
		if ok != want {
			t.Fatalf("TryAcquire(%s, %s) = %v, want %v", host, tenant, ok, want)
		}
		if ok {
			releases = append(releases, release)
		}
	}
	for range DefaultPerHost {
		take("dead.com", "a", true)
	}
	take("dead.com", "a", false)
	take("dead.com", "b", false) // the host's places are all tenants'
	for range DefaultPerTenant - DefaultPerHost {
		take("other.com", "a", true)
	}
	take("third.com", "a", false)
	take("third.com", "b", true)
	releases[0]()
	releases[0]() // once only
	take("dead.com", "b", true)
	take("dead.com", "b", false)
	for _, release := range releases {
		release()
	}
	if len(l.hosts) != 0 || len(l.tenants) != 0 {
		t.Errorf("left over: %v %v", l.hosts, l.tenants)
	}
}

func TestLimiterConcurrent(t *testing.T) {
	t.Parallel()
	l := NewLimiter(2, 3)
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			for j := range 100 {
				if release, ok := l.TryAcquire(fmt.Sprint(j%5), fmt.Sprint(i%3)); ok {
					release()
				}
			}
		})
	}
	wg.Wait()
	if len(l.hosts) != 0 || len(l.tenants) != 0 {
		t.Errorf("left over: %v %v", l.hosts, l.tenants)
	}
}
