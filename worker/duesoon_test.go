package worker

import (
	"strconv"
	"testing"
)

// TestSoonIsBounded: each document waits once, and no more of them than maxSoon.
func TestSoonIsBounded(t *testing.T) {
	t.Parallel()
	s := newDueSoon()
	for i := range maxSoon {
		if !s.add(strconv.Itoa(i)) {
			t.Fatalf("%d was not taken", i)
		}
		if s.add(strconv.Itoa(i)) {
			t.Fatalf("%d was taken twice", i)
		}
	}
	if s.add("more") {
		t.Error("one more than the most was taken")
	}
	s.remove("7")
	if s.has("7") || !s.add("more") || !s.has("more") {
		t.Error("the room that one left was not given to the next")
	}
}
