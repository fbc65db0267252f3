package vip

import (
	"cmp"
	"strconv"
	"strings"
	"unicode/utf8"
)

// MaxIDBytes is how long the id of a document may be, by the quota page of Firestore.
const MaxIDBytes = 1500

// ValidID reports whether s can be the id of a document: Firestore's rules, as Google's emulator applies
// them. Ids of the form __.+__ are reserved, but for those of documents that were made with a number for a
// name: __id7__.
func ValidID(s string) bool {
	if s == "" || len(s) > MaxIDBytes || !utf8.ValidString(s) || s == "." || s == ".." || strings.Contains(s, "/") {
		return false
	}
	if !reservedForm(s) {
		return true
	}
	_, ok := NumericID(s)
	return ok
}

func reservedForm(s string) bool {
	return len(s) >= 5 && strings.HasPrefix(s, "__") && strings.HasSuffix(s, "__")
}

// NumericID returns the number of an id of the form __id7__: any of 64 bits but 0, written in one way only.
func NumericID(id string) (int64, bool) {
	digits, ok := strings.CutPrefix(id, "__id")
	if !ok {
		return 0, false
	}
	if digits, ok = strings.CutSuffix(digits, "__"); !ok {
		return 0, false
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n == 0 || strconv.FormatInt(n, 10) != digits {
		return 0, false
	}
	return n, true
}

// NumericIDOf is the id of a document that has the number n, not 0, for a name.
func NumericIDOf(n int64) string { return "__id" + strconv.FormatInt(n, 10) + "__" }

// CompareIDs orders ids as Firestore does, ascending: numbers by their value before all others, which go by
// their bytes.
func CompareIDs(a, b string) int {
	n, numeric := NumericID(a)
	m, both := NumericID(b)
	switch {
	case numeric && both:
		return cmp.Compare(n, m)
	case numeric:
		return -1
	case both:
		return 1
	}
	return strings.Compare(a, b)
}

const (
	// afterAll sorts after any character that an id can have.
	afterAll = "\U0010FFFF"
	// MaxPrefixBytes leaves room for afterAll behind a prefix.
	MaxPrefixBytes = MaxIDBytes - len(afterAll)
)

// AfterPrefix is an id after all those, which are no numbers, that begin with prefix, of at most
// MaxPrefixBytes, and before all larger ones.
func AfterPrefix(prefix string) string { return prefix + afterAll }

// TextFloor is the least id to bound ranges with that is not a number: those that are sort before it, and of
// the others only those that begin with a NUL.
const TextFloor = "\x01"

// LegalID moves s, which may be of a reserved form, to the nearest legal id after it that is no number; no id
// of letters, digits, - and _ lies between the two. s is not empty, has no slash and is shorter than
// MaxIDBytes.
func LegalID(s string) string {
	if s == "." || s == ".." || reservedForm(s) {
		return s + "-"
	}
	return s
}
