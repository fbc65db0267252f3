package main

import (
	"strings"

	"github.com/spf13/cobra"

	"exportd/api/client"
	"exportd/internal/dataset"
	"exportd/jobs"
)

func (a *app) labelsCommand() *cobra.Command {
	f := rowFlags{dataset: dataset.VIPMessages}
	cmd := &cobra.Command{
		Use: "labels", Short: "Count the labels of VIP messages", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, c, err := a.dial(false, fewAttempts)
			if err != nil {
				return err
			}
			given, err := f.params(p)
			if err != nil {
				return err
			}
			r, err := c.LabelOverviewWithResponse(cmd.Context(), &client.LabelOverviewParams{
				WorkspaceID: given[dataset.Workspace], MediumID: given[dataset.Medium], From: given[jobs.ParamFrom], To: given[jobs.ParamTo],
			})
			if err != nil {
				return err
			}
			if a.asJSON {
				return a.printJSON(r.Body)
			}
			var rows [][]cell
			for _, l := range r.JSON200.Labels {
				rows = append(rows, []cell{number(l.Count), words(l.Label)})
			}
			if len(rows) > 0 {
				a.table([]column{{name: "MESSAGES", right: true}, {name: "LABEL", flexible: true}}, rows)
			}
			a.say("%s, %s in all.", plural(int64(len(rows)), "label", "labels"), plural(r.JSON200.Total, "message", "messages"))
			return nil
		},
	}
	f.addScope(cmd)
	return cmd
}

func (a *app) workspacesCommand() *cobra.Command {
	return &cobra.Command{
		Use: "workspaces", Short: "List the workspaces of your org", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.service(false, fewAttempts)
			if err != nil {
				return err
			}
			r, err := c.ListWorkspacesWithResponse(cmd.Context())
			if err != nil {
				return err
			}
			if a.asJSON {
				return a.printJSON(r.Body)
			}
			var rows [][]cell
			for _, w := range r.JSON200.Workspaces {
				vip := faint("no")
				if w.IsVip {
					vip = cell{"yes", green}
				}
				rows = append(rows, []cell{words(w.ID), vip, words(w.Name), words(strings.Join(w.ChannelIds, ","))})
			}
			if len(rows) == 0 {
				a.say("No workspaces.")
				return nil
			}
			a.table([]column{{name: "WORKSPACE"}, {name: "VIP"}, {name: "NAME", flexible: true}, {name: "CHANNELS", flexible: true}}, rows)
			return nil
		},
	}
}

func (a *app) channelsCommand() *cobra.Command {
	var workspace string
	cmd := &cobra.Command{
		Use: "channels", Short: "List the channels of your org, whose ids --medium takes", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.service(false, fewAttempts)
			if err != nil {
				return err
			}
			r, err := c.ListChannelsWithResponse(cmd.Context(), &client.ListChannelsParams{WorkspaceID: given(workspace)})
			if err != nil {
				return err
			}
			if a.asJSON {
				return a.printJSON(r.Body)
			}
			var rows [][]cell
			for _, ch := range r.JSON200.Channels {
				rows = append(rows, []cell{words(ch.ID), words(ch.Platform), words(ch.Name), words(strings.Join(ch.WorkspaceIds, ","))})
			}
			if len(rows) == 0 {
				a.say("No channels.")
				return nil
			}
			a.table([]column{{name: "CHANNEL"}, {name: "PLATFORM"}, {name: "NAME", flexible: true}, {name: "WORKSPACES", flexible: true}}, rows)
			return nil
		},
	}
	cmd.Flags().StringVarP(&workspace, "workspace", "w", "", "only channels connected to this workspace")
	return cmd
}
