package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"exportd/api/client"
)

// limits is what GET /limits answers; the generated client leaves the service's own routes out. What is nil
// has no limit.
type limits struct {
	// Budget is that of the key, of today; nil without one, and of a service that does not tell.
	Budget   *client.BudgetLeft `json:"budget"`
	Requests struct {
		Key     *bucket `json:"key"`
		Address *bucket `json:"address"`
	} `json:"requests"`
	// Connections are nil of a service that does not tell.
	Connections *struct {
		Address quota   `json:"address"`
		Opened  *bucket `json:"opened"`
		Total   int64   `json:"total"`
	} `json:"connections"`
	Exports struct {
		Running  quota  `json:"running"`
		Queued   quota  `json:"queued"`
		MaxRows  *int64 `json:"maxRows"`
		MaxBytes *int64 `json:"maxBytes"`
	} `json:"exports"`
	TestCallbacks *bucket `json:"testCallbacks"`
}

type bucket struct {
	PerSecond float64 `json:"perSecond"`
	Burst     int64   `json:"burst"`
	Left      int64   `json:"left"`
}

type quota struct {
	Used  int64  `json:"used"`
	Limit *int64 `json:"limit"`
}

func (a *app) limitsCommand() *cobra.Command {
	return &cobra.Command{
		Use: "limits", Short: "Show your limits and what is left of them", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.service(false, fewAttempts)
			if err != nil {
				return err
			}
			raw, err := get(cmd.Context(), c, "limits")
			if err != nil {
				return err
			}
			if a.asJSON {
				return a.printJSON(raw)
			}
			var l limits
			if err := json.Unmarshal(raw, &l); err != nil {
				return fmt.Errorf("read limits: %w", err)
			}
			a.showLimits(&l)
			return nil
		},
	}
}

func (a *app) showLimits(l *limits) {
	rows := [][]cell{
		l.Requests.Key.row("requests with this key"), l.Requests.Address.row("requests from this address"), l.TestCallbacks.row("test callbacks of your org"),
		l.Exports.Running.row("exports of your org that run"), l.Exports.Queued.row("exports of your org that wait"),
		{words("rows of an export"), {}, most(l.Exports.MaxRows, thousands), {}},
		{words("file of an export"), {}, most(l.Exports.MaxBytes, size), {}},
	}
	if b := l.Budget; b != nil {
		until := faint("until " + b.RenewsAt.UTC().Format(time.RFC3339))
		for _, day := range []struct {
			name     string
			left, of *int64
		}{{"rows of this key's day", b.RowsLeft, b.RowsPerDay}, {"reads of this key's day", b.ReadsLeft, b.ReadsPerDay}} {
			if day.left != nil && day.of != nil {
				rows = append(rows, []cell{words(day.name), left(*day.left), number(*day.of), until})
			}
		}
	}
	if c := l.Connections; c != nil {
		rows = append(rows, c.Address.row("connections of this address"), c.Opened.row("connections that it opens"),
			[]cell{words("connections of all addresses"), {}, number(c.Total), {}})
	}
	a.table([]column{{name: "LIMIT"}, {name: "LEFT", right: true}, {name: "OF", right: true}, {name: "", flexible: true}}, rows)
}

// most is a bound, or that there is none.
func most(n *int64, show func(int64) string) cell {
	if n == nil {
		return faint("no limit")
	}
	return words(show(*n))
}

// left is red where nothing is.
func left(n int64) cell {
	if n <= 0 {
		return cell{"0", red}
	}
	return number(n)
}

func (b *bucket) row(name string) []cell {
	if b == nil {
		return []cell{words(name), {}, faint("no limit"), {}}
	}
	return []cell{words(name), left(b.Left), number(b.Burst), faint(rate(b.PerSecond))}
}

// rate is how many come back in the long run.
func rate(perSecond float64) string {
	if perSecond < 1 {
		return "then " + strconv.FormatFloat(perSecond*60, 'g', 4, 64) + " a minute"
	}
	return "then " + strconv.FormatFloat(perSecond, 'g', 4, 64) + " a second"
}

func (q quota) row(name string) []cell {
	if q.Limit == nil {
		return []cell{words(name), {}, faint("no limit"), faint(thousands(q.Used) + " now")}
	}
	return []cell{words(name), left(*q.Limit - q.Used), number(*q.Limit), faint(thousands(q.Used) + " now")}
}

// maxAnswer bounds what get reads: limits are a few hundred bytes.
const maxAnswer = 64 << 10

// get sends a signed request to a route that the generated client leaves out.
func get(ctx context.Context, c *client.Client, path string) ([]byte, error) {
	raw, ok := c.ClientInterface.(*client.RawClient)
	if !ok {
		return nil, errors.New("client does not send requests") // it is what client.New makes
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, raw.Server+path, nil)
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	response, err := raw.Client.Do(r)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("read answer: %w", err)
	}
	return answer, nil
}
