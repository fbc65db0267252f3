package main

import (
	"github.com/spf13/cobra"

	"exportd/api/client"
)

func (a *app) opsLinks() *cobra.Command {
	return parent("links", "Who has followed links to files, and taking them back", a.opsDownloads(), a.opsRevokeLinks())
}

func (a *app) opsDownloads() *cobra.Command {
	var page pageFlags
	cmd := &cobra.Command{
		Use: "downloads JOB", Short: "List who has downloaded the file of a job, latest first", Args: oneArg("job id"),
		Long: "List who has downloaded the file of a job, latest first.\n\nThose that are alike within an hour are one line. Downloads are on record where csvUrl is a link of the service's own (EXPORTD_LINKS_URL).",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := page.check(); err != nil {
				return err
			}
			c, err := a.service(true, fewAttempts)
			if err != nil {
				return err
			}
			l, err := gather(page, "downloads", func(size int, token string) ([]byte, error) {
				r, err := c.OpsListDownloadsWithResponse(cmd.Context(), args[0], &client.OpsListDownloadsParams{PageSize: &size, PageToken: given(token)})
				if err != nil {
					return nil, err
				}
				return r.Body, nil
			})
			if err != nil {
				return err
			}
			return showItems(a, l, itemWords{"line", "No download of its file is on record."}, downloadColumns, downloadRow)
		},
	}
	page.addTokens(cmd, 50)
	return cmd
}

var downloadColumns = []column{
	{name: "LAST (UTC)"}, {name: "TIMES", right: true}, {name: "ADDRESS"}, {name: "LINK FOR", flexible: true}, {name: "LINK"}, {name: "PROGRAM", flexible: true, extra: true},
}

func downloadRow(d *client.Download) []cell {
	link := optional(d.LinkID)
	if d.Revoked {
		link.text += " (revoked)"
	}
	return []cell{instant(&d.At), number(int64(d.Count)), optional(d.Address), words(d.Asker), link, optional(d.UserAgent)}
}

func (a *app) opsRevokeLinks() *cobra.Command {
	var org, link, reason string
	cmd := &cobra.Command{
		Use: "revoke (JOB [--link LINK] | --org ORG)", Short: "Have links to files lead nowhere: one, all of a job, or all of an org", Args: atMostOne("job id"),
		Example: `  exportctl ops links revoke --org org_1 --reason "a laptop is lost"
  exportctl ops links revoke JOB --link LINK --reason "sent to the wrong address"`,
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case (len(args) == 1) == (org != ""):
				return &usageError{text: "either a job or --org is wanted", hint: "All links of an org: exportctl ops links revoke --org ORG --reason WHY"}
			case link != "" && len(args) == 0:
				return &usageError{text: "--link is one of a job: name the job too", hint: "Both are in: exportctl ops links downloads JOB"}
			}
			c, err := a.service(true, fewAttempts)
			if err != nil {
				return err
			}
			if org != "" {
				r, err := c.OpsRevokeOrgLinksWithResponse(cmd.Context(), client.OpsRevokeOrgLinksJSONRequestBody{OrgID: org, Reason: reason})
				if err != nil {
					return err
				}
				return a.revoked(r.Body, "No link to a file of org %s works any more that was handed out before now.", org)
			}
			r, err := c.OpsRevokeJobLinksWithResponse(cmd.Context(), args[0], client.OpsRevokeJobLinksJSONRequestBody{LinkID: given(link), Reason: reason})
			if err != nil {
				return err
			}
			if link != "" {
				return a.revoked(r.Body, "Link %s works no more.", link)
			}
			return a.revoked(r.Body, "No link to the file of job %s works any more that was handed out before now.", args[0])
		},
	}
	cmd.Flags().StringVar(&org, "org", "", "all links of this org")
	cmd.Flags().StringVar(&link, "link", "", "this link of the job alone")
	needReason(cmd, &reason)
	return cmd
}

// revoked tells of links that were taken back.
func (a *app) revoked(body []byte, format, which string) error {
	if a.asJSON {
		return a.printJSON(body)
	}
	a.say(format+" Who was led to a file in the last minute may still begin to download it.", which)
	return nil
}
