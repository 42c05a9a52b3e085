/* SPDX-License-Identifier: GPL-2.0-or-later */
/* tune_console.c: decisions about what a person sees of the guest, and QEMU's sandbox. */
#include "tune_rows.h"

#include <stdio.h>

static bool has_screen(const struct facts *f)
{
	return f->host_x11 || f->host_wayland;
}

/* What --display auto comes to. */
static enum plan_display pick_auto(const struct input *in)
{
	const struct facts *f = in->facts;

	if (in->wishes->detach || !has_screen(f))
		return PLAN_NO_DISPLAY;
	if (facts_has_word(f->qemu_displays, "gtk"))
		return PLAN_GTK;
	return facts_has_word(f->qemu_displays, "sdl") ? PLAN_SDL : PLAN_NO_DISPLAY;
}

static enum plan_display pick_display(const struct input *in)
{
	switch (in->wishes->display) {
	case WISH_DISPLAY_AUTO:
		return pick_auto(in);
	case WISH_NO_DISPLAY:
		return PLAN_NO_DISPLAY;
	case WISH_GTK:
		return PLAN_GTK;
	case WISH_SDL:
		return PLAN_SDL;
	case WISH_VNC:
		return PLAN_VNC;
	case WISH_SPICE:
		return PLAN_SPICE;
	}
	return PLAN_NO_DISPLAY;
}

static const char *display_name(enum plan_display display)
{
	static const char *const names[] = {
		[PLAN_NO_DISPLAY] = "none", [PLAN_GTK] = "gtk",	    [PLAN_SDL] = "sdl",
		[PLAN_VNC] = "vnc",	    [PLAN_SPICE] = "spice",
	};

	return names[display];
}

/* VNC is always built in; the list names the others. */
static bool qemu_has(const struct facts *f, enum plan_display display)
{
	switch (display) {
	case PLAN_GTK:
		return facts_has_word(f->qemu_displays, "gtk");
	case PLAN_SDL:
		return facts_has_word(f->qemu_displays, "sdl");
	case PLAN_SPICE:
		return facts_has_word(f->qemu_displays, "spice-app");
	case PLAN_NO_DISPLAY:
	case PLAN_VNC:
		break;
	}
	return true;
}

static void explain_auto(const struct input *in, enum plan_display display, struct decision *row)
{
	const struct facts *f = in->facts;

	if (in->wishes->detach)
		row_reason(row, "detached: no window (--display vnc or spice can be looked at)");
	else if (!has_screen(f))
		row_reason(row, "this session has no screen (neither $DISPLAY nor "
				"$WAYLAND_DISPLAY)");
	else if (display == PLAN_NO_DISPLAY)
		row_note(row, "there is a screen, but this QEMU has neither gtk nor sdl (Debian: "
			      "apt install qemu-system-gui)");
	else
		row_reason(row, "a window on %s", f->host_wayland ? f->host_wayland : f->host_x11);
}

void decide_display(const struct input *in, struct plan *plan, struct decision *row)
{
	const struct facts *f = in->facts;
	const enum plan_display display = pick_display(in);

	plan->display = display;
	row_value(row, "%s", display_name(display));
	if (in->wishes->display == WISH_DISPLAY_AUTO)
		explain_auto(in, display, row);
	else if (!qemu_has(f, display))
		row_refuse(row, EXIT_FAILED,
			   "--display %s: this QEMU was built without it; install the part that "
			   "has it (Debian: qemu-system-gui, qemu-system-modules-spice) or use vnc",
			   display_name(display));
	else if ((display == PLAN_GTK || display == PLAN_SDL) && !has_screen(f))
		row_refuse(row, EXIT_FAILED,
			   "--display %s: this session has no screen; use none, vnc or spice",
			   display_name(display));
	else
		row_reason(row, "asked for with --display");
}

void decide_serial(const struct input *in, struct plan *plan, struct decision *row)
{
	const char *wish = in->wishes->serial;
	const bool terminal = in->facts->host_terminal == FACT_YES;

	if (!wish) {
		plan->serial = PLAN_SERIAL_NULL;
		row_value(row, "none");
		row_reason(row, terminal ? "not asked for (--serial stdio shows it here)"
					 : "not asked for (--serial FILE keeps it)");
	} else if (wish[0] != '/') {
		plan->serial = PLAN_SERIAL_STDIO;
		row_value(row, terminal ? "stdio, raw" : "stdio, copied");
		row_reason(row, terminal ? "Ctrl-C goes to the guest, Ctrl-] opens a menu"
					 : "not a terminal: bytes pass as they are");
	} else {
		plan->serial = PLAN_SERIAL_FILE;
		plan->serial_file = wish;
		row_value(row, "file");
		row_reason(row, "to %.200s%s", wish,
			   terminal ? "; Ctrl-C asks the guest to power off" : "");
	}
}

void decide_sandbox(const struct input *in, struct plan *plan, struct decision *row)
{
	const enum plan_display display = pick_display(in);

	plan->sandbox = in->facts->qemu_sandbox == FACT_YES;
	plan->sandbox_resources = plan->sandbox && display != PLAN_GTK && display != PLAN_SDL;
	row_value(row, "%s",
		  !plan->sandbox	    ? "off"
		  : plan->sandbox_resources ? "on"
					    : "on, resource control allowed");
	if (!plan->sandbox)
		row_reason(row, "this QEMU was built without seccomp");
	else if (plan->sandbox_resources)
		row_reason(row, "QEMU may start no programs and gain no rights");
	else
		row_reason(row, "QEMU may start no programs; graphics drivers place their threads");
}
