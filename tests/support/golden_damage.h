/* SPDX-License-Identifier: GPL-2.0-or-later */
/* golden_damage.h: the images of tests/golden/stores, whole and damaged in every known way. */
#ifndef TEST_GOLDEN_DAMAGE_H
#define TEST_GOLDEN_DAMAGE_H

#include "image_edit.h"

/* The images by number; NULL past the last. */
const char *golden_damage_name(unsigned index);
/* Made by the engine of today, then damaged. To be freed with store_image_free. */
void golden_damage_make(unsigned index, struct store_image *ret_image);

#endif
