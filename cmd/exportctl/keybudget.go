package main

import (
	"bytes"
	"encoding/json"
	"slices"

	"github.com/spf13/cobra"

	"exportd/api/client"
)

// noLimit is what a flag of a budget says for one without a limit.
const noLimit = "none"

func (a *app) keysBudget() *cobra.Command {
	var rows, reads, reason string
	cmd := &cobra.Command{
		Use: "budget KEY", Short: "Change what the exports of an API key may come to in a day", Args: oneArg("key id"), ValidArgsFunction: a.completeKeys,
		Long: `Changes the budget of a key: how many rows its exports may have, and how many documents
they may read, in a day of UTC. A flag that is left out leaves that as it is; "none" takes
the limit away. It holds within 10 seconds for exports that are asked for from then on.
What the key has spent of the day stays spent.`,
		Example: `  exportctl keys budget KEY --rows-per-day 5000000 --reason "twice the users"
  exportctl keys budget KEY --reads-per-day none --reason "it pays for itself"`,
		RunE: func(cmd *cobra.Command, args []string) error {
			fields := map[string]json.RawMessage{}
			for name, text := range map[string]string{"rowsPerDay": rows, "readsPerDay": reads} {
				switch {
				case text == noLimit:
					fields[name] = json.RawMessage("null")
				case json.Valid([]byte(text)):
					fields[name] = json.RawMessage(text)
				case text != "":
					fields[name], _ = json.Marshal(text) // for the service to refuse, as it does others
				}
			}
			if len(fields) == 0 {
				return &usageError{text: "--rows-per-day or --reads-per-day is required", hint: "see: " + cmd.CommandPath() + " --help"}
			}
			fields["reason"], _ = json.Marshal(reason)
			body, err := json.Marshal(fields)
			if err != nil {
				return err
			}
			_, c, err := a.keyAdmin()
			if err != nil {
				return err
			}
			r, err := c.SetKeyBudgetWithBodyWithResponse(cmd.Context(), args[0], "application/json", bytes.NewReader(body))
			if err != nil {
				return aboutKey(args[0], err)
			}
			if a.asJSON {
				return a.printJSON(r.Body)
			}
			a.showBudget(&r.JSON200.Key)
			return nil
		},
	}
	cmd.Flags().StringVar(&rows, "rows-per-day", "", "how many rows its exports may have in a day of UTC; none: no limit")
	cmd.Flags().StringVar(&reads, "reads-per-day", "", "how many documents its exports may read in a day of UTC; none: no limit")
	needReason(cmd, &reason)
	return cmd
}

func (a *app) showBudget(k *client.APIKey) {
	a.list(slices.Concat(whoseKey(k), budgetFacts(k)))
	if k.BudgetToday == nil {
		a.say("Key %s has no budget: its exports are without limit.", k.KeyID)
	}
}
