package main

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"exportd/api/client"
)

func (a *app) keysCommand() *cobra.Command {
	cmd := parent("keys", "Make, list, rotate, limit and revoke API keys", a.keysCreate(), a.keysList(), a.keysGet(), a.keysRotate(), a.keysBudget(), a.keysRevoke())
	cmd.Long = `What admins do. The key needs the scope "admin"; where the profile has a key for
operators, it is that one. These requests are always signed by version 2: a signature
that somebody saw makes no key.

  exportctl keys create --org org_1 --name billing --scope read --scope export --reason "new service"
  exportctl keys rotate KEY --overlap 48h --reason "yearly rotation"
  exportctl keys budget KEY --rows-per-day 5000000 --reason "twice the users"
  exportctl keys revoke KEY --reason "the service is gone"
  exportctl keys get KEY                  who did that, and why`
	return cmd
}

// keyAdmin makes a client that may change keys.
func (a *app) keyAdmin() (profile, *client.Client, error) {
	p, err := a.profile()
	if err != nil {
		return p, nil, err
	}
	p.SignatureVersion = 2
	c, err := a.connect(p, true, fewAttempts)
	return p, c, err
}

// aboutKey names the key in an error, which knows only of jobs.
func aboutKey(id string, err error) error {
	err = fmt.Errorf("key %s: %w", id, err)
	if client.StatusOf(err) == http.StatusNotFound {
		return &hinted{err, "The keys are in: exportctl keys list"}
	}
	return err
}

func (a *app) keysCreate() *cobra.Command {
	var draft client.APIKeyDraft
	var scopes []string
	var expires string
	var version int
	var rowsPerDay, readsPerDay int64
	var oneUse, sandbox bool
	cmd := &cobra.Command{
		Use: "create --org ORG --scope SCOPE", Short: "Make an API key and show its secrets, this once", Args: noArgs,
		Long: `Makes an API key. Its secrets are shown once, on standard output: nobody, the service
included, can show them again.

Scopes: read lists data, export makes and fetches exports, ops is for operators, admin is
for keys. What is not limited is open: the key works from everywhere, and callbacks go to
any public host.`,
		Example: `  exportctl keys create --org org_1 --name billing --scope read --scope export --ip-range 203.0.113.0/24 --reason "new service"
  exportctl keys create --org org_1 --scope read --reason "nightly job" --json | jq -r .secret   # for scripts`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if draft.OrgID == "" || len(scopes) == 0 {
				return &usageError{text: "--org and --scope are required", hint: "see: " + cmd.CommandPath() + " --help"}
			}
			if draft.Name == "" {
				draft.Name = "exportctl " + a.now().UTC().Format(time.DateOnly)
			}
			for _, s := range scopes {
				draft.Scopes = append(draft.Scopes, client.Scope(s))
			}
			draft.ExpiresAt, draft.MinSignatureVersion, draft.OneUse = given(expires), given(version), given(oneUse)
			draft.Sandbox = given(sandbox)
			if cmd.Flags().Changed("rows-per-day") { // 0 too, which the service refuses: it is not no limit
				draft.RowsPerDay = &rowsPerDay
			}
			if cmd.Flags().Changed("reads-per-day") {
				draft.ReadsPerDay = &readsPerDay
			}
			p, c, err := a.keyAdmin()
			if err != nil {
				return err
			}
			r, err := c.CreateKeyWithResponse(cmd.Context(), draft)
			if err != nil {
				return err
			}
			if a.asJSON {
				return a.printJSON(r.Body)
			}
			a.showNewKey(p, &r.JSON201.Key, r.JSON201.Secret, r.JSON201.WebhookSecret)
			return nil
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&draft.OrgID, "org", "", "whose key it is (required)")
	flags.StringVar(&draft.Name, "name", "", "what to know it by (default: exportctl and the date)")
	flags.StringSliceVar(&scopes, "scope", nil, "what it may do: read, export, ops, view, admin, platform (required, as often as needed)")
	flags.StringVar(&expires, "expires", "", "when it ends: ISO date or date-time (default: never)")
	flags.StringSliceVar(&draft.CallbackHosts, "callback-host", nil, "where its callbacks may go, like hooks.example.com or *.example.com")
	flags.StringSliceVar(&draft.IPRanges, "ip-range", nil, "where its requests may come from, like 203.0.113.0/24")
	flags.IntVar(&version, "min-signature-version", 0, "2: refuse signatures of version 1, which work for any request for a minute")
	flags.BoolVar(&oneUse, "one-use", false, "take each signature of version 1 once: every request needs another x-date")
	flags.Int64Var(&rowsPerDay, "rows-per-day", 0, "how many rows its exports may have in a day of UTC (default: no limit)")
	flags.Int64Var(&readsPerDay, "reads-per-day", 0, "how many documents its exports may read in a day of UTC (default: no limit)")
	flags.BoolVar(&sandbox, "sandbox", false, "a key for tests: made-up rows, and what becomes of an export is its caller's choice")
	needReason(cmd, &draft.Reason)
	choices(cmd, "scope", "read", "export", "ops", "view", "admin", "platform")
	choices(cmd, "min-signature-version", "1", "2")
	return cmd
}

// showNewKey prints a key with its secrets, and says where they belong.
func (a *app) showNewKey(p profile, k *client.APIKey, secret, webhookSecret string) {
	facts := keyFacts(k)
	a.list(append(facts, [2]cell{words("secret"), {secret, bold}}, [2]cell{words("webhook secret"), {webhookSecret, bold}}))
	add := []string{"exportctl profiles add NAME --url " + quote(p.URL) + " --key " + quote(clean(k.KeyID, false))}
	if k.MinSignatureVersion == 2 {
		add = append(add, "--signature-version 2")
	}
	a.say(`
The secrets are not shown again: put them into a secret store now.
The caller signs requests with the secret; who receives callbacks verifies them with the webhook secret.
To use the key here:  %s`, strings.Join(add, " "))
}

// keyFacts are what there is to say about a key.
func keyFacts(k *client.APIKey) [][2]cell {
	var signatures []string
	if k.MinSignatureVersion > 1 {
		signatures = append(signatures, fmt.Sprintf("version %d only", k.MinSignatureVersion))
	}
	if k.OneUse {
		signatures = append(signatures, "each once")
	}
	return slices.Concat(whoseKey(k), [][2]cell{
		{words("scopes"), words(strings.Join(k.Scopes, ", "))}, {words("expires"), expiry(k.ExpiresAt)}, {words("callbacks to"), words(strings.Join(k.CallbackHosts, ", "))},
		{words("requests from"), words(strings.Join(k.IPRanges, ", "))}, {words("signatures"), words(strings.Join(signatures, ", "))},
	}, budgetFacts(k))
}

// whoseKey says which key it is.
func whoseKey(k *client.APIKey) [][2]cell {
	return [][2]cell{{words("key"), words(k.KeyID)}, {words("org"), words(orgText(k))}, {words("name"), words(k.Name)}}
}

// budgetFacts are what its exports may come to, and have.
func budgetFacts(k *client.APIKey) [][2]cell {
	return [][2]cell{{words("budget"), words(strings.Join(budgetOf(k), ", "))}, {words("spent today"), words(spentToday(k))}}
}

// spentToday is what a key has spent of its budget, "" of one without.
func spentToday(k *client.APIKey) string {
	b := k.BudgetToday
	if b == nil {
		return ""
	}
	return plural(b.RowsSpent, "row", "rows") + " and " + plural(b.ReadsSpent, "read", "reads") + "; left are " + leftToday(b)
}

// leftToday is what is left of a budget, and how long it is.
func leftToday(b *client.BudgetLeft) string {
	return strings.Join(rowsAndReads(b.RowsLeft, b.ReadsLeft), " and ") + ", until " + b.RenewsAt.UTC().Format(time.RFC3339)
}

// budgetOf is what the exports of a key may come to.
func budgetOf(k *client.APIKey) []string {
	limits := rowsAndReads(k.RowsPerDay, k.ReadsPerDay)
	for i := range limits {
		limits[i] += " a day"
	}
	return limits
}

// rowsAndReads says how many there are of those that a budget has a number of.
func rowsAndReads(rows, reads *int64) (list []string) {
	if rows != nil {
		list = append(list, plural(*rows, "row", "rows"))
	}
	if reads != nil {
		list = append(list, plural(*reads, "read", "reads"))
	}
	return list
}

// orgText is the org of a key, and whether it acts in its sandbox.
func orgText(k *client.APIKey) string {
	if k.Sandbox {
		return k.OrgID + " (sandbox)"
	}
	return k.OrgID
}

func expiry(t *time.Time) cell {
	if t == nil {
		return faint("never")
	}
	return instant(t)
}

func (a *app) keysList() *cobra.Command {
	var org string
	cmd := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List API keys, without their secrets", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, c, err := a.keyAdmin()
			if err != nil {
				return err
			}
			r, err := c.ListKeysWithResponse(cmd.Context(), &client.ListKeysParams{OrgID: given(org)})
			if err != nil {
				return err
			}
			if a.asJSON {
				return a.printJSON(r.Body)
			}
			a.showKeys(r.JSON200.Keys)
			return nil
		},
	}
	cmd.Flags().StringVar(&org, "org", "", "only keys of this org")
	return cmd
}

func (a *app) showKeys(keys []client.APIKey) {
	if len(keys) == 0 {
		a.say("No keys.")
		return
	}
	rows := make([][]cell, len(keys))
	for i, k := range keys {
		var old cell // what the secret before the last rotation still has
		for _, s := range k.Secrets {
			if s.ExpiresAt != nil {
				old = instant(s.ExpiresAt)
			}
		}
		limits := append(append([]string{}, k.IPRanges...), k.CallbackHosts...)
		if k.MinSignatureVersion > 1 {
			limits = append(limits, fmt.Sprintf("v%d", k.MinSignatureVersion))
		}
		if k.OneUse {
			limits = append(limits, "one use")
		}
		limits = append(limits, budgetOf(&k)...)
		if b := k.BudgetToday; b != nil {
			limits = append(limits, "today "+strings.Join(rowsAndReads(b.RowsLeft, b.ReadsLeft), " and ")+" left")
		}
		rows[i] = []cell{
			words(k.KeyID), stateCell(k.State), words(orgText(&k)), words(k.Name), words(strings.Join(k.Scopes, ",")), expiry(k.ExpiresAt),
			day(k.LastUsedAt), old, words(strings.Join(limits, ",")),
		}
	}
	a.table([]column{
		{name: "KEY"}, {name: "STATE"}, {name: "ORG", flexible: true}, {name: "NAME", flexible: true}, {name: "SCOPES", flexible: true}, {name: "EXPIRES (UTC)", extra: true},
		{name: "LAST USED", extra: true}, {name: "OLD SECRET UNTIL", extra: true}, {name: "LIMITED TO", flexible: true, extra: true},
	}, rows)
}

func (a *app) keysGet() *cobra.Command {
	return &cobra.Command{
		Use: "get KEY", Aliases: []string{"show"}, Short: "Show an API key and who changed it", Args: oneArg("key id"), ValidArgsFunction: a.completeKeys,
		RunE: func(cmd *cobra.Command, args []string) error {
			_, c, err := a.keyAdmin()
			if err != nil {
				return err
			}
			r, err := c.GetKeyWithResponse(cmd.Context(), args[0])
			if err != nil {
				return aboutKey(args[0], err)
			}
			if a.asJSON {
				return a.printJSON(r.Body)
			}
			a.showKey(&r.JSON200.Key, r.JSON200.Audit)
			return nil
		},
	}
}

func (a *app) showKey(k *client.APIKey, history []client.KeyChange) {
	facts := append(keyFacts(k), [2]cell{words("state"), stateCell(k.State)}, [2]cell{words("last used"), day(k.LastUsedAt)})
	for _, s := range k.Secrets {
		if s.ExpiresAt != nil {
			facts = append(facts, [2]cell{words("old secret until"), instant(s.ExpiresAt)})
		}
	}
	for _, s := range k.WebhookSecrets {
		if s.ExpiresAt != nil {
			facts = append(facts, [2]cell{words("old webhook secret until"), instant(s.ExpiresAt)})
		}
	}
	a.list(facts)
	a.heading("History (UTC)") // the reason comes last and is never cut
	rows := make([][]cell, len(history))
	for i, e := range history {
		rows[i] = []cell{instant(&e.At), words(e.Actor), words(strings.ReplaceAll(e.Action, "_", " ")), words(reasonOf(&e))}
	}
	a.table([]column{{name: "TIME"}, {name: "BY", flexible: true}, {name: "CHANGE"}, {name: "BECAUSE"}}, rows)
}

// reasonOf is why somebody changed a key, and what, where the change's name does not say it.
func reasonOf(e *client.KeyChange) string {
	if e.Detail != nil {
		return e.Reason + " (" + *e.Detail + ")"
	}
	return e.Reason
}

func (a *app) keysRotate() *cobra.Command {
	var overlap time.Duration
	var yes, webhook bool
	var reason string
	cmd := &cobra.Command{
		Use: "rotate KEY", Short: "Give an API key a new secret and show it, this once", Args: oneArg("key id"), ValidArgsFunction: a.completeKeys,
		Long: `Gives a key a new secret. The one in use works on for the overlap, in which its users
change over; any older one ends at once. The webhook secret stays as it is.

With --webhook it is the webhook secret that is new. For the overlap callbacks carry a
signature by each of the two, so that receivers can change over when they like.

A secret that has leaked needs --overlap 0, which asks first: who signs or verifies with it
alone cannot go on from then on.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if overlap < 0 || overlap%time.Second != 0 {
				return &usageError{text: fmt.Sprintf("--overlap %s is not a number of whole seconds", overlap), hint: "like: --overlap 24h"}
			}
			p, c, err := a.keyAdmin()
			if err != nil {
				return err
			}
			if overlap == 0 {
				if err := a.confirm(cmd.Context(), yes, endSecret(args[0], p.URL, webhook)); err != nil {
					return err
				}
			}
			seconds, name := int(overlap/time.Second), "secret"
			body := client.RotateKeyJSONRequestBody{OverlapSeconds: &seconds, Reason: reason}
			if webhook {
				name, body.Secret = "webhook secret", new(client.RotateKeyJSONBodySecretWebhook)
			}
			r, err := c.RotateKeyWithResponse(cmd.Context(), args[0], body)
			if err != nil {
				return aboutKey(args[0], err)
			}
			if a.asJSON {
				return a.printJSON(r.Body)
			}
			ends := r.JSON200.OldSecretExpiresAt
			a.list([][2]cell{{words("key"), words(r.JSON200.KeyID)}, {words(name), {r.JSON200.Secret, bold}}, {words("old one until"), instant(&ends)}})
			a.sayRotated(p, args[0], webhook)
			return nil
		},
	}
	cmd.Flags().BoolVar(&webhook, "webhook", false, "the secret that signs callbacks, not the one for requests")
	needReason(cmd, &reason)
	cmd.Flags().DurationVar(&overlap, "overlap", 24*time.Hour, "how long the old secret works on: at most 168h")
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask; with --overlap 0")
	return cmd
}

// endSecret asks whether a secret may end at once.
func endSecret(id, at string, webhook bool) string {
	if webhook {
		return fmt.Sprintf("End the webhook secret of key %s now, at %s? Receivers refuse callbacks until they have the new one.", id, at)
	}
	return fmt.Sprintf("End the secret of key %s now, at %s? Its users are refused until they have the new one.", id, at)
}

// sayRotated says what is to be done with the new secret of a key, and whether it is one that this program
// itself uses.
func (a *app) sayRotated(p profile, id string, webhook bool) {
	if webhook {
		a.say("\nThe secret is not shown again: put it into a secret store now, and give it to whoever verifies the callbacks.")
		return
	}
	a.say("\nThe secret is not shown again: put it into a secret store now, and give it to those who use the key.")
	if id == p.Key || id == p.OpsKey {
		where := p.origin
		if where == "EXPORTCTL_URL" {
			where = "EXPORTCTL_SECRET"
		}
		a.say("You use this key yourself: put the secret into %s too.", where)
	}
}

func (a *app) keysRevoke() *cobra.Command {
	var yes bool
	var reason string
	cmd := &cobra.Command{
		Use: "revoke KEY", Short: "Disable an API key", Args: oneArg("key id"), ValidArgsFunction: a.completeKeys,
		Long: `Disables a key: requests with it are refused from now on, and no callbacks are sent in its
name. A key cannot revoke itself.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			p, c, err := a.keyAdmin()
			if err != nil {
				return err
			}
			if err := a.confirm(cmd.Context(), yes, fmt.Sprintf("Disable key %s, at %s?", args[0], p.URL)); err != nil {
				return err
			}
			r, err := c.RevokeKeyWithResponse(cmd.Context(), args[0], client.RevokeKeyJSONRequestBody{Reason: reason})
			if err != nil {
				return aboutKey(args[0], err)
			}
			if a.asJSON {
				return a.printJSON(r.Body)
			}
			a.say("Key %s is disabled.", args[0])
			return nil
		},
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	needReason(cmd, &reason)
	return cmd
}

// completeKeys offers the active keys.
func (a *app) completeKeys(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	_, c, err := a.keyAdmin()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), completeWithin)
	defer cancel()
	r, err := c.ListKeysWithResponse(ctx, &client.ListKeysParams{})
	if err != nil || r.JSON200 == nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var ids []string
	for _, k := range r.JSON200.Keys {
		if k.State == "active" {
			ids = append(ids, cobra.CompletionWithDesc(clean(k.KeyID, false), clean(k.OrgID+" "+k.Name, false)))
		}
	}
	return ids, cobra.ShellCompDirectiveNoFileComp
}
