package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"exportd/internal/apikey"
	"exportd/internal/export"
	"exportd/jobs"
)

// countWait is how long a new export of a key with a budget waits for its turn to be counted: counts take
// some 100 ms, and a burst of 10 a second of a key has its turns within two.
const countWait = 5 * time.Second

// budgetView is what is spent of a key's day, and left; null of what has no limit.
type budgetView struct {
	RowsPerDay  *int64    `json:"rowsPerDay"`
	RowsSpent   int64     `json:"rowsSpent"`
	RowsLeft    *int64    `json:"rowsLeft"`
	ReadsPerDay *int64    `json:"readsPerDay"`
	ReadsSpent  int64     `json:"readsSpent"`
	ReadsLeft   *int64    `json:"readsLeft"`
	RenewsAt    time.Time `json:"renewsAt"`
}

// viewOfBudget is nil without a budget.
func viewOfBudget(b jobs.Budget, day jobs.BudgetDay) *budgetView {
	if b == (jobs.Budget{}) {
		return nil
	}
	left := day.Left(b)
	v := &budgetView{
		RowsPerDay: orNull(b.Rows), RowsSpent: max(0, day.Rows), ReadsPerDay: orNull(b.Reads), ReadsSpent: max(0, day.Reads), RenewsAt: day.RenewsAt().UTC(),
	}
	if b.Rows > 0 {
		v.RowsLeft = &left.Rows
	}
	if b.Reads > 0 {
		v.ReadsLeft = &left.Reads
	}
	return v
}

// budgetsToday are what keys have spent of their budgets, by their ids: of those that have one.
func (s *Server) budgetsToday(ctx context.Context, keys ...*apikey.Key) (map[string]*budgetView, error) {
	var ids []string
	var budgets []jobs.Budget
	for _, k := range keys {
		if k.Budget != (jobs.Budget{}) {
			ids, budgets = append(ids, k.ID), append(budgets, k.Budget)
		}
	}
	days, err := s.jobs.BudgetDays(ctx, ids) // reads nothing for none
	if err != nil {
		return nil, err
	}
	views := make(map[string]*budgetView, len(ids))
	for i, day := range days {
		views[ids[i]] = viewOfBudget(budgets[i], day)
	}
	return views, nil
}

// budgetOf is what a new job of a key asks of its budget, before it is counted; nil without one.
func budgetOf(caller *apikey.Key) *jobs.BudgetRequest {
	if caller.Budget == (jobs.Budget{}) {
		return nil
	}
	return &jobs.BudgetRequest{Budget: caller.Budget}
}

// submitCounted is Submit for keys that may have a budget: the rows of what becomes a new job are counted
// before it is made, and those of no other.
func (s *Server) submitCounted(ctx context.Context, submission jobs.Submission) (jobs.Submitted, error) {
	submitted, err := s.jobs.Submit(ctx, submission)
	if !errors.Is(err, jobs.ErrUncounted) {
		return submitted, err
	}
	cost, err := s.cost(ctx, submission)
	if err != nil {
		return submitted, err
	}
	submission.Budget = asking(submission.Budget, cost.Rows, cost.Reads)
	return s.jobs.Submit(ctx, submission)
}

// cost counts what a submission would take, when there is a place among the quotes under way: it holds
// nothing while it waits.
func (s *Server) cost(ctx context.Context, submission jobs.Submission) (export.Quote, error) {
	if s.quotes == nil {
		return export.Quote{}, errNoQuoter
	}
	waiting, cancel := context.WithTimeout(ctx, countWait)
	defer cancel()
	leave, why := s.quoting.await(waiting, submission.OrgID, submission.KeyID)
	if why != admitted {
		return export.Quote{}, errQuotes()
	}
	defer leave()
	return s.quotes.Cost(ctx, jobOf(submission))
}

func asking(r *jobs.BudgetRequest, rows, reads int64) *jobs.BudgetRequest {
	return &jobs.BudgetRequest{Budget: r.Budget, Counted: true, AskRows: rows, AskReads: reads}
}

var errNoQuoter = errors.New("this server has no quoter")

func errQuotes() error {
	return &problem{status: http.StatusTooManyRequests, message: "too many exports are counted at once: try again", retryAfter: retryAfterOutage * time.Second}
}

// quoteBudget tells what is left of a key's day, and refuses what is more.
func (s *Server) quoteBudget(ctx context.Context, v *quoteView, submission jobs.Submission) error {
	r := submission.Budget
	if r == nil {
		return nil
	}
	days, err := s.jobs.BudgetDays(ctx, []string{submission.KeyID})
	if err != nil {
		return err
	}
	day := days[0]
	v.Budget = viewOfBudget(r.Budget, day)
	if v.AttachesTo != nil {
		return nil // which costs nothing
	}
	_, _, err = day.Reserve(*asking(r, v.Rows, v.EstimatedReads))
	if over, ok := errors.AsType[*jobs.BudgetError](err); ok {
		v.Refusals = append(v.Refusals, errorOne{"BUDGET_SPENT", budgetText(over)})
	}
	return nil
}

// budgetLimit is one of a key's limits, and what a refused request asked of it.
type budgetLimit struct {
	name             string
	limit, left, ask int64
}

// budgetLimits are those that the key of a refused request has.
func budgetLimits(e *jobs.BudgetError) []budgetLimit {
	r, left := e.Request, e.Left()
	all := []budgetLimit{{"rows", r.Rows, left.Rows, r.AskRows}, {"reads", r.Reads, left.Reads, r.AskReads}}
	return slices.DeleteFunc(all, func(l budgetLimit) bool { return l.limit <= 0 })
}

// overBudget answers a request that is more than is left, as the headers of the rate limit do.
func (s *Server) overBudget(c *gin.Context, e *jobs.BudgetError) error {
	wait := max(time.Second, e.Day.RenewsIn())
	for _, l := range budgetLimits(e) {
		c.Writer.Header().Add("RateLimit-Policy", fmt.Sprintf(`"budget-%s";q=%d;w=86400`, l.name, l.limit))
		c.Writer.Header().Add("RateLimit", fmt.Sprintf(`"budget-%s";r=%d;t=%d`, l.name, l.left, seconds(wait)))
	}
	return &problem{
		status: http.StatusTooManyRequests, retryAfter: wait, message: budgetText(e),
		extra: map[string]any{"budget": viewOfBudget(e.Request.Budget, e.Day)},
	}
}

// budgetText says what was asked, what is left and what to do.
func budgetText(e *jobs.BudgetError) string {
	var asked, left []string
	for _, l := range budgetLimits(e) {
		asked = append(asked, fmt.Sprintf("%d %s", l.ask, l.name))
		left = append(left, fmt.Sprintf("%d of %d %s", l.left, l.limit, l.name))
	}
	text := "of this key's budget for the day are left " + strings.Join(left, " and ")
	if e.Request.Counted {
		text = "the export needs " + strings.Join(asked, " and ") + "; " + text
	}
	if e.Whole() {
		return text + ": ask for less, or an admin for a key with more"
	}
	return text + ": it is renewed at " + e.Day.RenewsAt().UTC().Format(time.RFC3339)
}
