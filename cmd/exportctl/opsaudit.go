package main

import (
	"github.com/spf13/cobra"

	"exportd/api/client"
)

func (a *app) opsAudit() *cobra.Command {
	var page pageFlags
	var since, until, actor, action, target string
	cmd := &cobra.Command{
		Use: "audit", Short: "List what operators did, when and why, latest first", Args: noArgs,
		Example: `  exportctl ops audit --since 7d
  exportctl ops audit --target JOB`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := page.check(); err != nil {
				return err
			}
			c, err := a.service(true, fewAttempts)
			if err != nil {
				return err
			}
			l, err := gather(page, "entries", func(size int, token string) ([]byte, error) {
				r, err := c.OpsListAuditWithResponse(cmd.Context(), &client.OpsListAuditParams{
					Since: given(since), Until: given(until), Actor: given(actor), Action: given(client.AuditAction(action)), Target: given(target), PageSize: &size, PageToken: given(token),
				})
				if err != nil {
					return nil, err
				}
				return r.Body, nil
			})
			if err != nil {
				return err
			}
			return showItems(a, l, itemWords{"entry", "Nobody did anything."}, auditColumns, auditRow)
		},
	}
	page.addTokens(cmd, 50)
	flags := cmd.Flags()
	flags.StringVar(&since, "since", "", "from when on: how long ago, like 12h or 7d, or an ISO date or date-time")
	flags.StringVar(&until, "until", "", "until when, as --since")
	flags.StringVar(&actor, "actor", "", `only what they did, like "api key key_1"`)
	flags.StringVar(&action, "action", "", "only this, like job.rerun")
	flags.StringVar(&target, "target", "", "only what was done to this job, batch, cause, queue or receiver")
	return cmd
}

var auditColumns = []column{
	{name: "TIME (UTC)"}, {name: "BY", flexible: true}, {name: "DID"}, {name: "TO", right: true}, {name: "TARGET", flexible: true, extra: true}, {name: "FILTER", flexible: true, extra: true}, {name: "REASON", whole: true},
}

func auditRow(e *client.AuditEntry) []cell {
	count := cell{}
	if e.Count != nil {
		count = number(*e.Count)
	}
	return []cell{instant(&e.At), words(e.Actor), words(string(e.Action)), count, optional(e.Target), optional(e.Filter), words(e.Reason)}
}
