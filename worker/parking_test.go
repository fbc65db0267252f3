package worker

import (
	"strconv"
	"testing"

	"exportd/internal/webhook"
	"exportd/jobs"
)

func TestParking(t *testing.T) {
	t.Parallel()
	l := webhook.NewLimiter(1, 2)
	park := func(k *parking, host, org, id string) { k.add(waiting{host, org, jobs.Message{CallbackID: id}}) }
	var k parking
	leaveA, _ := l.TryAcquire("a", "o1")
	park(&k, "a", "o1", "1")
	park(&k, "a", "o2", "2")
	park(&k, "b", "o1", "3")
	park(&k, "b", "o1", "3") // rung twice, waits once
	if m, ok := k.next(l); !ok || m.CallbackID != "3" {
		t.Errorf("next() = %+v, %t; want 3, the only one whose host is free", m, ok)
	}
	if m, ok := k.next(l); ok {
		t.Errorf("next() = %+v, want none while host a is taken", m)
	}
	leaveA()
	if m, ok := k.next(l); !ok || m.CallbackID != "1" {
		t.Errorf("next() = %+v, %t; want 1, which came first", m, ok)
	}
	k.remove("2")
	k.remove("2")
	if m, ok := k.next(l); ok {
		t.Errorf("next() = %+v, want none after remove", m)
	}
}

func TestParkingIsBounded(t *testing.T) {
	t.Parallel()
	var k parking
	for i := range maxParked + 10 {
		k.add(waiting{"a", "o", jobs.Message{CallbackID: strconv.Itoa(i)}})
	}
	if len(k.line) != maxParked {
		t.Errorf("%d wait, want at most %d", len(k.line), maxParked)
	}
}
