package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"

	"github.com/spf13/cobra"

	"exportd/api/client"
	"exportd/internal/dataset"
)

// mostRows is the largest page of rows.
const mostRows = 200

// listCommand lists a dataset that is built in. It is named as its rows are.
func (a *app) listCommand(d *dataset.Dataset) *cobra.Command {
	f := rowFlags{dataset: d}
	var page pageFlags
	var offset int
	var cursor string
	cmd := &cobra.Command{
		Use: d.List.Rows, Short: "List " + d.Title + ", " + orderText(d), Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := page.check(); err != nil {
				return err
			}
			p, c, err := a.dial(false, fewAttempts)
			if err != nil {
				return err
			}
			params, err := f.params(p)
			if err != nil {
				return err
			}
			query := queryOf(params)
			if offset != 0 {
				query.Set("offset", strconv.Itoa(offset))
			}
			if cursor != "" {
				query.Set(d.List.Cursor, cursor)
			}
			list, err := collectRows(cmd.Context(), c, client.Kind(d.Name), query, d.List.Cursor, page)
			if err != nil {
				return err
			}
			list.name = d.List.Rows
			return a.showRows(list, layouts[d.Name])
		},
	}
	f.add(cmd)
	page.add(cmd, 50)
	switch sort := d.Sort; {
	case d.List.Cursor == "":
		cmd.Flags().IntVar(&offset, "offset", 0, "how many to skip")
	case sort.Type == dataset.Time && !sort.Ascending:
		cmd.Flags().StringVar(&cursor, d.List.Cursor, "", "only older "+d.List.Rows+": an instant, or a nextCursor")
	default:
		cmd.Flags().StringVar(&cursor, d.List.Cursor, "", "nextCursor of a list with the same filters")
	}
	return cmd
}

// rowsCommand lists what an installation has of its own.
func (a *app) rowsCommand() *cobra.Command {
	var params []string
	var page pageFlags
	cmd := &cobra.Command{
		Use: "rows NAME", Short: "List the rows of another dataset that the service has", Args: oneArg("the name of a dataset, like orders"),
		Long: `Lists rows of a dataset that the service has besides VIP users and messages, one JSON object a line. Its parameters are
in the service's own document, at /docs.`,
		Example: "  exportctl rows orders --param status=paid --limit 20",
		RunE: func(cmd *cobra.Command, args []string) error {
			given, err := pairs(params)
			if err != nil {
				return err
			}
			if err := page.check(); err != nil {
				return err
			}
			_, c, err := a.dial(false, fewAttempts)
			if err != nil {
				return err
			}
			list, err := collectRows(cmd.Context(), c, client.Kind(args[0]), queryOf(given), "cursor", page)
			if err != nil {
				return err
			}
			list.name = "rows"
			return a.showRows(list, layout{})
		},
	}
	cmd.Flags().StringArrayVar(&params, "param", nil, "a parameter of the dataset, as name=value; again for each")
	page.add(cmd, 50)
	return cmd
}

// collectRows gets as many pages as it takes; cursor is the parameter that takes nextCursor.
func collectRows(ctx context.Context, c *client.Client, kind client.Kind, query url.Values, cursor string, page pageFlags) (rowList, error) {
	all := rowList{Page: client.Page{Rows: []json.RawMessage{}}}
	for {
		n := page.left(len(all.Rows), mostRows)
		if n <= 0 {
			return all, nil
		}
		query.Set("limit", strconv.Itoa(n))
		got, err := c.ListRows(ctx, kind, query)
		if err != nil {
			return all, err
		}
		got.Rows = append(all.Rows, got.Rows...)
		all.Page = *got
		switch {
		case got.NextCursor != nil:
			query.Set(cursor, *got.NextCursor)
		case got.NextOffset != nil:
			query.Set("offset", strconv.Itoa(*got.NextOffset))
		default:
			return all, nil
		}
	}
}

// rowList is rows, put together from pages as they came.
type rowList struct {
	client.Page
	name string // of the rows
}

func (l rowList) more() bool { return l.NextCursor != nil || l.NextOffset != nil }

// MarshalJSON has the form of the service's pages.
func (l rowList) MarshalJSON() ([]byte, error) {
	rows, err := json.Marshal(l.Rows)
	if err != nil {
		return nil, err
	}
	if l.Total != nil {
		next, err := json.Marshal(l.NextOffset)
		return fmt.Appendf(nil, `{"total":%d,"nextOffset":%s,%q:%s}`, *l.Total, next, l.name, rows), err
	}
	next, err := json.Marshal(l.NextCursor)
	return fmt.Appendf(nil, `{%q:%s,"nextCursor":%s}`, l.name, rows, next), err
}

// showRows prints rows as a table, or without a layout as a JSON object a line.
func (a *app) showRows(l rowList, form layout) error {
	if a.asJSON {
		return a.printValue(l)
	}
	if form.row == nil {
		for _, row := range l.Rows {
			fmt.Fprintln(a.stdout, clean(string(row), false))
		}
		form.one, form.many = "row", "rows"
	} else if len(l.Rows) > 0 {
		rows := make([][]cell, len(l.Rows))
		for i, raw := range l.Rows {
			var err error
			if rows[i], err = form.row(raw); err != nil {
				return fmt.Errorf("read %s: %w", form.one, err)
			}
		}
		a.table(form.columns, rows)
	}
	shown := int64(len(l.Rows))
	switch {
	case l.Total != nil:
		a.say("%s of %s.", thousands(shown), plural(*l.Total, form.one, form.many))
	case shown == 0:
		a.say("No %s.", form.many)
	case l.more():
		a.say("There are more than these %s: --limit N or --all shows them.", plural(shown, form.one, form.many))
	default:
		a.say("%s.", plural(shown, form.one, form.many))
	}
	return nil
}
