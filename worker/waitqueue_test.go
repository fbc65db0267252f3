package worker

import (
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"exportd/internal/webhook"
	"exportd/jobs"
)

func delivery(id string) jobs.Message { return jobs.Message{CallbackID: id} }

// ids takes out all whose turn it is, in turn.
func ids(k *waitQueue) (out []string, leave []func()) {
	for {
		m, l := k.next()
		if l == nil {
			return out, leave
		}
		out, leave = append(out, m.CallbackID), append(leave, func() { l.Release(true) })
	}
}

func TestParking(t *testing.T) {
	t.Parallel()
	k := newWaitQueue(webhook.NewLimiter(webhook.Concurrency{PerReceiver: 1, PerTenant: 2, PerOrigin: 2}))
	enter := func(origin, org, id string, want bool) func() {
		t.Helper()
		leave := k.acquire(origin, org, delivery(id))
		if (leave != nil) != want {
			t.Fatalf("enter(%s, %s) has a place: %t, want %t", origin, org, leave != nil, want)
		}
		if leave == nil {
			return nil
		}
		return func() { leave.Release(true) }
	}
	leaveA := enter("a", "o1", "1", true)
	enter("a", "o1", "2", false)
	enter("a", "o1", "2", false) // notified twice, waits once
	enter("a", "o1", "3", false)
	leaveO2 := enter("a", "o2", "4", true)
	enter("a", "o3", "5", false) // the origin is full
	enter("b", "o1", "6", true)
	if got, _ := ids(k); got != nil {
		t.Errorf("next() gave %v while there is no place", got)
	}
	leaveA()
	got, leave := ids(k)
	if fmt.Sprint(got) != "[2]" { // o1 came first at a, and has one place elsewhere
		t.Errorf("next() gave %v, want 2", got)
	}
	leave[0]()
	if got, leave = ids(k); fmt.Sprint(got) != "[5]" {
		t.Errorf("next() gave %v, want 5: o1 had its turn", got)
	}
	leave[0]()
	leaveO2()
	if got, _ = ids(k); fmt.Sprint(got) != "[3]" {
		t.Errorf("next() gave %v, want 3", got)
	}
	if len(k.queued)+len(k.orgs)+len(k.origins)+k.rotation.Len() != 0 {
		t.Errorf("left over: %v %v %v", k.queued, k.orgs, k.origins)
	}
}

// TestParkingTurns: an org with many origins and many callbacks waits no less than another.
func TestParkingTurns(t *testing.T) {
	t.Parallel()
	k := newWaitQueue(webhook.NewLimiter(webhook.Concurrency{PerReceiver: 4, PerTenant: 4, PerOrigin: 4, Total: 4}))
	var held []func()
	for n := range 1000 {
		if leave := k.acquire("gateway", "greedy", delivery("g"+strconv.Itoa(n))); leave != nil {
			held = append(held, func() { leave.Release(true) })
		}
	}
	for n := range 10 {
		if leave := k.acquire("gateway", "o"+strconv.Itoa(n), delivery("o"+strconv.Itoa(n))); leave != nil {
			held = append(held, func() { leave.Release(true) })
		}
	}
	if len(held) != 4 {
		t.Fatalf("%d have a place, want 2 of the greedy one and 2 of others", len(held))
	}
	var served []string
	for len(held) > 0 && len(served) < 10 {
		held[0]()
		got, leave := ids(k)
		served, held = append(served, got...), append(held[1:], leave...)
	}
	// Others had places before o2: 8 are left, and the greedy one has its turn between them.
	if got := strings.Count(fmt.Sprint(served), "o"); got != 8 {
		t.Errorf("served %v, want 8 other orgs among the first 10", served)
	}
}

// TestParkingIsBounded: a million deliveries that wait, of ten orgs and of a million at as many origins. What
// is kept is bounded, and beside few orgs the first of a late one is kept too.
func TestParkingIsBounded(t *testing.T) {
	const deliveries = 1_000_000
	for _, orgs := range []int{10, deliveries} {
		limiter := webhook.NewLimiter(webhook.Concurrency{})
		for n := range 1000 {
			limiter.TryAcquire("https://full.example.com:"+strconv.Itoa(n), strconv.Itoa(n))
		}
		k := newWaitQueue(limiter)
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		for n := range deliveries {
			job := "abcdefghijklmnopqrs" + strconv.Itoa(deliveries+n)
			org := strconv.Itoa(n % orgs)
			k.acquire("https://hooks-"+org+".example.com", org, jobs.Message{JobID: job, CallbackID: "msg_" + job + "_failed_1"})
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		mib := (float64(after.HeapAlloc) - float64(before.HeapAlloc)) / (1 << 20)
		t.Logf("%d deliveries of %d orgs: %d parked at %d origins, %.1f MiB", deliveries, orgs, len(k.queued), len(k.origins), mib)
		if len(k.queued) > maxQueued || k.orgs["0"] > maxQueuedOfOrg || mib > 24 {
			t.Errorf("%d parked, %d of one org, %.1f MiB", len(k.queued), k.orgs["0"], mib)
		}
		if leave := k.acquire("https://late.example.com", "late", delivery("late")); leave != nil || (k.queued["late"] != nil) != (orgs == 10) {
			t.Errorf("%d orgs: the first delivery of another one has a place: %t, is kept: %t", orgs, leave != nil, k.queued["late"] != nil)
		}
	}
}

// BenchmarkParkingNext is a place that is left while 10,000 orgs wait at an origin that is full.
func BenchmarkParkingNext(b *testing.B) {
	k := newWaitQueue(webhook.NewLimiter(webhook.Concurrency{}))
	for n := range 10_000 {
		k.acquire("https://dead.example.com", "org-"+strconv.Itoa(n), delivery(strconv.Itoa(n)))
	}
	for b.Loop() {
		if leave := k.acquire("https://live.example.com", "live", delivery("x")); leave != nil {
			leave.Release(true)
		}
		if _, leave := k.next(); leave != nil {
			b.Fatal("a place at a full origin")
		}
	}
}
