package main

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"exportd/api/client"
)

// exportDatasetCommand exports what an installation has of its own.
func (a *app) exportDatasetCommand() *cobra.Command {
	f := &exportFlags{}
	var params []string
	cmd := &cobra.Command{
		Use: "dataset NAME", Short: "Export another dataset that the service has", Args: oneArg("the name of a dataset, like orders"),
		Example: "  exportctl export dataset orders --param status=paid -o orders.csv",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.read(); err != nil {
				return err
			}
			given, err := pairs(params)
			if err != nil {
				return err
			}
			f.request.Kind, f.request.Params = client.Kind(args[0]), given
			return a.export(cmd.Context(), f)
		},
	}
	cmd.Flags().StringArrayVar(&params, "param", nil, "a parameter of the dataset, as name=value; again for each")
	f.addFile(cmd)
	return cmd
}

// pairs reads name=value.
func pairs(params []string) (map[string]string, error) {
	out := map[string]string{}
	for _, p := range params {
		name, value, ok := strings.Cut(p, "=")
		if !ok || name == "" {
			return nil, &usageError{text: fmt.Sprintf("--param %q is not name=value", p)}
		}
		if _, twice := out[name]; twice {
			return nil, &usageError{text: fmt.Sprintf("--param %s is given twice", name)}
		}
		out[name] = value
	}
	return out, nil
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
			p, err := a.profile()
			if err != nil {
				return err
			}
			c, err := a.connect(p, false, fewTries)
			if err != nil {
				return err
			}
			query := url.Values{}
			for name, value := range given {
				query.Set(name, value)
			}
			all := rowList{Rows: []json.RawMessage{}}
			for more := true; more; more = all.NextCursor != nil {
				n := page.left(len(all.Rows), mostRows)
				if n <= 0 {
					break
				}
				query.Set("limit", strconv.Itoa(n))
				if all.NextCursor != nil {
					query.Set("cursor", *all.NextCursor)
				}
				got, err := c.ListRows(cmd.Context(), client.Kind(args[0]), query)
				if err != nil {
					return err
				}
				all.Rows, all.NextCursor = append(all.Rows, got.Rows...), got.NextCursor
			}
			return a.showRows(all)
		},
	}
	cmd.Flags().StringArrayVar(&params, "param", nil, "a parameter of the dataset, as name=value; again for each")
	page.add(cmd, 50)
	return cmd
}

type rowList struct {
	Rows       []json.RawMessage `json:"rows"`
	NextCursor *string           `json:"nextCursor"`
}

func (a *app) showRows(l rowList) error {
	if a.asJSON {
		return a.printValue(l)
	}
	for _, row := range l.Rows {
		fmt.Fprintln(a.stdout, clean(string(row), false))
	}
	more := "."
	if l.NextCursor != nil {
		more = ", and there are more."
	}
	a.say("%s%s", plural(int64(len(l.Rows)), "row", "rows"), more)
	return nil
}
