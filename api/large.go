package api

import (
	"context"
	"errors"
	"net/http"
	"time"

	"exportd/internal/apikey"
	"exportd/internal/dataset"
	"exportd/internal/records"
	"exportd/internal/vip"
)

// A list shows what documents hold, and those may have 1 MiB each: 200 MiB a page, several times over while
// it is encoded, from a process that has 256. So a page ends early when its rows come to much, which callers
// see by nextOffset and nextCursor; and only a few requests at a time hold more than ordinary rows come to,
// which have some 500 bytes.
const (
	// smallPage is what each request may hold of documents, in bytes.
	smallPage = 256 << 10
	// largePage is what those with a place may hold: 200 rows of 10 KiB.
	largePage = 2 << 20
	// largePages are the places, of which keys and orgs have a share. One holds its rows, their JSON twice
	// and that packed: about 10 MiB, and 16 if all is escaped.
	largePages = 4
	// largeWait is how long a list that cannot be shown without one waits for a place. It holds nothing
	// meanwhile, and a place is held for some 100 ms.
	largeWait = 5 * time.Second
)

// acquireLarge waits for a place for a list that cannot be shown without.
func (s *Server) acquireLarge(ctx context.Context, caller *apikey.Key) (leave func(), err error) {
	ctx, cancel := context.WithTimeout(ctx, s.largeWait)
	defer cancel()
	if leave, why := s.large.await(ctx, caller.OrgID, caller.ID); why == admitted {
		return leave, nil
	}
	return nil, errLargePages()
}

func errLargePages() error {
	return &problem{status: http.StatusTooManyRequests, message: "too many lists of large rows at once: try again when one has ended", retryAfter: time.Second}
}

// page reads a page. leave is to be called when it has been answered.
func (s *Server) page(ctx context.Context, caller *apikey.Key, d *dataset.Dataset, q vip.Query, after *vip.Position, offset, limit int) (page records.Page, leave func(), err error) {
	nothing := func() {}
	rows := s.encoders[d].Get()
	defer s.encoders[d].Put(rows)
	page, err = s.records.Page(ctx, q, after, offset, limit, smallPage, rows)
	if err != nil || !page.Cut {
		return page, nothing, err
	}
	if len(page.Rows) > 0 {
		var why refusal
		if leave, why = s.large.acquire(caller.OrgID, caller.ID); why != admitted {
			return page, nothing, nil // the next one goes on
		}
		after, offset = page.Next, 0
	} else if leave, err = s.acquireLarge(ctx, caller); err != nil {
		return page, nothing, err
	}
	rest, err := s.records.Page(ctx, q, after, offset, limit-len(page.Rows), largePage-smallPage, rows)
	if err != nil {
		leave()
		return page, nothing, err
	}
	rest.Rows = append(page.Rows, rest.Rows...)
	if rest.Next == nil && rest.Cut { // no row of it fitted
		rest.Next = page.Next
	}
	return rest, leave, nil
}

// listAll reads a whole list that has no pages. leave is as of page.
func listAll[T any](ctx context.Context, s *Server, caller *apikey.Key, read func(most int) ([]T, error)) (list []T, leave func(), err error) {
	nothing := func() {}
	list, err = read(smallPage)
	if !errors.Is(err, records.ErrTooLarge) {
		return list, nothing, err
	}
	if leave, err = s.acquireLarge(ctx, caller); err != nil {
		return nil, nothing, err
	}
	if list, err = read(largePage); err != nil {
		leave()
		leave = nothing
	}
	if errors.Is(err, records.ErrTooLarge) {
		err = &problem{status: http.StatusInternalServerError, message: "the org has more of these, or larger ones, than a list can show", cause: err}
	}
	return list, leave, err
}
