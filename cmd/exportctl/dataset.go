package main

import (
	"fmt"
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
