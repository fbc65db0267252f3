package e2e

import (
	"net/http"
	"net/url"
	"os"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"exportd/internal/e2e/e2etest"
)

const (
	// costlyConns are more than an org may have overviews under way, and than cores.
	costlyConns = 16
	// costlyLimit is when the greedy key gives up to be refused.
	costlyLimit = 30 * time.Second
	// costlyFilters are asked for by turns: none is answered from memory before all were.
	costlyFilters = 100
)

// costly are the requests that cost the API and its services most, the i-th of each kind with a filter of its
// own.
func costly(s *e2etest.Stack, i int) (path string, query url.Values) {
	i, kind := i/4%costlyFilters, i%4
	switch kind {
	case 0, 1: // billed a read for each message of 31 days
		to := time.Now().UTC().Truncate(time.Hour).Add(-time.Duration(i) * time.Second)
		return "/vip-labels/overview", s.Messages("from", to.AddDate(0, 0, -31).Format(time.RFC3339), "to", to.Format(time.RFC3339))
	case 2: // all rows are skipped, which are billed
		return "/vip-users", s.Users("offset", strconv.Itoa(1<<31-1-i), "limit", "200", "birthdayMonth", strconv.Itoa(i%12+1))
	}
	to := time.Now().UTC().Truncate(time.Hour).Add(-time.Duration(i) * time.Second)
	return "/vip-messages", s.Messages("limit", "200", "from", to.AddDate(0, 0, -31).Format(time.RFC3339), "to", to.Format(time.RFC3339), "contentType", []string{"text", "postback", "attachment", "other"}[i%4])
}

// TestCostliestRequests: one key asks for what costs most as fast as it can, of an API with the limits that
// it is shipped with. It is held by 429, and another org's lists beside it are all answered. How much slower
// they are is logged alone: here API, services and both callers share the machine's cores.
func TestCostliestRequests(t *testing.T) {
	cloud, hosts := e2etest.Emulators(t, exportd, t.TempDir())
	messages := 5_000
	if *floodFor >= floodMeasured {
		messages = 50_000
	}
	s := e2etest.Services(t, exportd, hosts, e2etest.Sizes{Users: 1_000, Messages: messages}, "EXPORTD_TRUSTED_PROXIES=127.0.0.1/32")
	// Not many come in half a second where the race detector is in all processes.
	other, turn, long := s.Other(), 0, max(*floodFor, 2*time.Second)
	lists := func() (e2etest.Response, error) {
		turn++
		path, query := "/workspaces", url.Values{}
		switch turn % 3 {
		case 0:
			path, query = "/vip-users", url.Values{"workspaceId": {s.OtherWorkspaceID}, "mediumId": {s.OtherMediumID}, "limit": {"200"}}
		case 1:
			path, query = "/vip-messages", s.Messages("workspaceId", s.OtherWorkspaceID, "mediumId", s.OtherMediumID)
		}
		// From an address of its own: one that asks for more than an address may is refused whoever asks.
		return other.Try(t.Context(), http.MethodGet, path, query, nil, "X-Forwarded-For", "203.0.113.7")
	}
	alone := percentile99(asksOf(t, long, lists))

	var mu sync.Mutex
	tally, why := map[int]int{}, map[string]int{}
	refused := make(chan struct{})
	var next atomic.Int64
	var greedy sync.WaitGroup
	stop := make(chan struct{})
	for range costlyConns {
		greedy.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				path, query := costly(s, int(next.Add(1)))
				r, err := s.Caller().Try(t.Context(), http.MethodGet, path, query, nil)
				if err != nil {
					t.Errorf("%s: %v", path, err)
					return
				}
				if r.Status != http.StatusOK && r.Status != http.StatusTooManyRequests {
					t.Errorf("%s?%s = %d %.300s", path, query.Encode(), r.Status, r.Body)
				}
				mu.Lock()
				if tally[r.Status]++; r.Status == http.StatusTooManyRequests {
					if len(why) == 0 {
						close(refused)
					}
					if why[path]++; r.Header.Get("Retry-After") == "" {
						t.Errorf("%s: 429 without Retry-After", path)
					}
				}
				mu.Unlock()
			}
		})
	}
	cpu, begun := costlyCPU(t, s.Process, cloud), time.Now()
	beside := asksOf(t, long, lists)
	took := time.Since(begun)
	spent := costlyCPU(t, s.Process, cloud)
	select {
	case <-refused:
	case <-time.After(costlyLimit):
		t.Errorf("nothing was refused within %s", costlyLimit)
	}
	close(stop)
	greedy.Wait()
	p99 := percentile99(beside)
	t.Logf("the greedy key: %v, of them 429 by route %v; another org's %d lists beside it: p99 %.2fx of alone (%v / %v)",
		tally, why, len(beside), float64(p99)/float64(alone), p99, alone)
	t.Logf("CPU while it asks, in cores: API %.2f, services %.2f, callers %.2f, of %d", float64(spent[0]-cpu[0])/100/took.Seconds(),
		float64(spent[1]-cpu[1])/100/took.Seconds(), float64(spent[2]-cpu[2])/100/took.Seconds(), runtime.NumCPU())
	if tally[http.StatusOK] == 0 {
		t.Error("the greedy key got nothing at all: what was refused is not what costs")
	}
}

// costlyCPU is the CPU time so far of the API, its services and this process, in hundredths of a second: who
// it is that another org waits for.
func costlyCPU(t *testing.T, api, cloud *e2etest.Process) [3]int {
	t.Helper()
	return [3]int{cpuTicks(t, api.Pid()), cpuTicks(t, cloud.Pid()), cpuTicks(t, os.Getpid())}
}
