package jobstore

import (
	"context"
	"time"

	"cloud.google.com/go/firestore"
)

// maxPage bounds a page of a list: 100 job documents are at most a few 100 KiB.
const maxPage = 100

// pageSize is how many documents a page has of which so many are asked for.
func pageSize(asked int) int {
	if asked <= 0 || asked > maxPage {
		return maxPage
	}
	return asked
}

// list is what a list shows, latest first: documents with some values, of a stretch of time, behind a page.
type list struct {
	of       *firestore.CollectionRef
	values   []value
	at       string    // the field by which they are in order
	from, to time.Time // inclusive, exclusive; zero is no bound
	token    string
	valid    func(id string) bool // of their ids
}

// value is what a field must be; "" is anything.
type value struct{ path, is string }

// query asks for a list. For each value deployments/firestore.indexes.json has an index (field, at), which
// Firestore joins. ErrPageToken for a token that no page gave.
func (l list) query() (firestore.Query, error) {
	q := l.of.Query
	for _, v := range l.values {
		if v.is != "" {
			q = q.Where(v.path, "==", v.is)
		}
	}
	if !l.from.IsZero() {
		q = q.Where(l.at, ">=", l.from)
	}
	if !l.to.IsZero() {
		q = q.Where(l.at, "<", l.to)
	}
	q = q.OrderBy(l.at, firestore.Desc).OrderBy(firestore.DocumentID, firestore.Desc)
	if l.token == "" {
		return q, nil
	}
	at, id, err := parsePageToken(l.token, l.valid)
	if err != nil {
		return q, err
	}
	return q.StartAfter(at, l.of.Doc(id)), nil
}

// eachOfPage calls fn with the first documents of a list that is in the order of a field, and gives the token
// behind them, "" if there are no more.
func eachOfPage(ctx context.Context, q firestore.Query, field string, size int, fn func(*firestore.DocumentSnapshot)) (next string, err error) {
	n, last := 0, ""
	err = each(ctx, q.Limit(size+1), func(doc *firestore.DocumentSnapshot) error {
		if n++; n > size {
			next = last
			return nil
		}
		at, _ := valueAt[time.Time](doc, field)
		last = pageToken(at, doc.Ref.ID)
		fn(doc)
		return nil
	})
	return next, err
}
