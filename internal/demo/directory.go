package demo

// place is where a row belongs: the three ids that every query filters by.
type place struct{ org, workspace, medium string }

// directory is the fixed set of orgs, workspaces and channels.
type directory struct {
	documents []Document

	main  place   // bulk of the rows
	side  place   // second VIP workspace: the rows that should not exist at all
	rest  []place // other places of the first org, side included
	other place   // VIP workspace of the second org
	plain place   // of the second org, not VIP
}

// newDirectory makes two orgs. In the first, the main channel also serves the side workspace, the main
// workspace also has a support channel, one channel was disconnected from the main workspace but left rows
// behind, and one VIP workspace has no channel.
func newDirectory(seed uint64) directory {
	id := func(stream string) string { return documentID(seed, stream, 0) }
	first, second := "org_"+id("org/first")[:12], "org_"+id("org/second")[:12]
	arcade, lounge, empty, studio := id("ws/arcade"), id("ws/lounge"), id("ws/empty"), id("ws/studio")
	otherVIP, otherPlain := id("ws/other"), id("ws/other-plain")
	chat, support, private, gone, mail := id("ch/chat"), id("ch/support"), id("ch/private"), id("ch/gone"), id("ch/mail")
	otherChat, otherMail := id("ch/other"), id("ch/other-mail")

	return directory{
		documents: []Document{
			workspace(arcade, first, "Aurora Arcade VIP", true, chat, support),
			workspace(lounge, first, "Aurora Lounge, \"Black\" tier", true, chat, private),
			workspace(empty, first, "Aurora Next Season", true),
			workspace(studio, first, "Aurora Studio", false, mail),
			workspace(otherVIP, second, "Borealis Club", true, otherChat),
			workspace(otherPlain, second, "Borealis Help Desk", false, otherMail),
			channel(chat, first, "Aurora Messenger", "messenger", arcade, lounge),
			channel(support, first, "Aurora Support", "whatsapp", arcade),
			channel(private, first, "Aurora Concierge", "telegram", lounge),
			channel(gone, first, "Aurora Line (closed)", "line"),
			channel(mail, first, "Aurora Mail", "email", studio),
			channel(otherChat, second, "Borealis Messenger", "messenger", otherVIP),
			channel(otherMail, second, "Borealis Mail", "email", otherPlain),
		},
		main: place{first, arcade, chat},
		side: place{first, lounge, private},
		rest: []place{
			{first, arcade, support}, {first, lounge, chat}, {first, lounge, private},
			{first, arcade, gone}, {first, studio, mail},
		},
		other: place{second, otherVIP, otherChat},
		plain: place{second, otherPlain, otherMail},
	}
}

// place draws where a bulk row goes: 88 in a hundred to the main place.
func (d *directory) place(random *draw) place {
	switch share := random.n(100); {
	case share < 88:
		return d.main
	case share < 93:
		return d.other
	case share < 95:
		return d.plain
	default:
		return pick(random, d.rest)
	}
}

func workspace(id, org, name string, vip bool, channels ...string) Document {
	return Document{"Workspaces/" + id, fields{
		"orgId": text(org), "name": text(name), "isVip": boolean(vip), "channelIds": texts(channels...),
	}}
}

func channel(id, org, name, platform string, workspaces ...string) Document {
	return Document{"Channels/" + id, fields{
		"orgId": text(org), "name": text(name), "platform": text(platform), "workspaceIds": texts(workspaces...),
	}}
}
