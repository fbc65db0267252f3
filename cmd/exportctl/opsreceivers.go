package main

import (
	"github.com/spf13/cobra"

	"exportd/api/client"
)

func (a *app) opsReceivers() *cobra.Command {
	cmd := a.opsReceiverHistory()
	cmd.AddCommand(a.opsReceiversList(), a.opsReceiversResume())
	return cmd
}

func (a *app) opsReceiversList() *cobra.Command {
	return &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List the receivers to which no callbacks are sent", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.service(true, fewAttempts)
			if err != nil {
				return err
			}
			r, err := c.OpsListReceiversWithResponse(cmd.Context())
			if err != nil {
				return err
			}
			if a.asJSON {
				return a.printJSON(r.Body)
			}
			a.showReceivers(r.JSON200.Receivers)
			return nil
		},
	}
}

func (a *app) showReceivers(receivers []client.Receiver) {
	if len(receivers) == 0 {
		a.say("No receiver is suspended.")
		return
	}
	rows := make([][]cell, len(receivers))
	for i, r := range receivers {
		var address cell
		if r.Address != r.Origin {
			address = words(r.Address) // only this URL of it
		}
		rows[i] = []cell{words(r.OrgID), words(r.Origin), instant(&r.SuspendedAt), number(int64(r.Exhausted)), {r.Why, red}, address}
	}
	a.table([]column{
		{name: "ORG", flexible: true}, {name: "ORIGIN"}, {name: "SUSPENDED (UTC)"}, {name: "GIVEN UP", right: true}, {name: "WHY", flexible: true}, {name: "ONLY", flexible: true, extra: true},
	}, rows)
}

func (a *app) opsReceiversResume() *cobra.Command {
	var org, reason string
	cmd := &cobra.Command{
		Use: "resume ORIGIN --org ORG", Short: "Send callbacks to a receiver again, those too that were held back", Args: oneArg("origin (scheme, host and port)"),
		Example: `  exportctl ops receivers resume https://hooks.example.com --org org_1 --reason "they are back"`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if org == "" {
				return &usageError{text: "--org is missing: receivers are suspended for each org", hint: "Both are in: exportctl ops receivers list"}
			}
			c, err := a.service(true, fewAttempts)
			if err != nil {
				return err
			}
			r, err := c.OpsResumeReceiverWithResponse(cmd.Context(), client.OpsResumeReceiverJSONRequestBody{OrgID: org, Origin: args[0], Reason: reason})
			if err != nil {
				return err
			}
			if a.asJSON {
				return a.printJSON(r.Body)
			}
			a.say("%s gets callbacks of org %s again; %s.", args[0], org, plural(int64(r.JSON200.Resumed), "delivery begins again", "deliveries begin again"))
			return nil
		},
	}
	cmd.Flags().StringVar(&org, "org", "", "whose callbacks (required)")
	needReason(cmd, &reason)
	return cmd
}
